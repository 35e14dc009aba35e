/* What a tester does between two touchdowns, as far as caches are concerned: everything else. */
#ifndef CHILL_H
#define CHILL_H

/* Touches 96 MB of data and runs through 4 MB of code. Returns 0 if there is no memory for it. */
int chill(void);

#endif
