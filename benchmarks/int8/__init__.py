"""int8 against the usual tools: whose file changes fewer of fp32's verdicts; see ../README.md."""
