// What Swift sees of the system library; macros and inline helpers it cannot import go here.
#ifndef CLIBPQ_SHIM_H
#define CLIBPQ_SHIM_H
#include <libpq-fe.h>
#endif
