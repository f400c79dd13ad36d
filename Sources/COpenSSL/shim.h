// What Swift sees of the system library; macros and inline helpers it cannot import go here.
#ifndef COPENSSL_SHIM_H
#define COPENSSL_SHIM_H
#include <openssl/ssl.h>
#endif
