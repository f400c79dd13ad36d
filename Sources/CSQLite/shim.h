// What Swift sees of the system library; macros and inline helpers it cannot import go here.
#ifndef CSQLITE_SHIM_H
#define CSQLITE_SHIM_H
#include <sqlite3.h>
#endif
