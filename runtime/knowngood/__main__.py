"""``python -m knowngood`` is the ``knowngood`` command."""

import sys

from knowngood._commands import main

sys.exit(main())
