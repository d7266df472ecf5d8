#pragma once

#include <dlfcn.h>

#include <string>

#include "injector/environment.h"

namespace injector {

/// The function of that name and type in a shared library, which is loaded at
/// the first call. Throws Error if there is none, `package` being what to
/// install.
///
/// A library that is linked as usual is loaded before main with all that it
/// needs, so before each verb: for libcurl (LDAP, Kerberos, TLS) that takes
/// 5 ms, for libarchive (XML, Unicode) more than one, and `run` has ten for a
/// Python's whole start. Functions of ours with the library's names call this
/// instead (lazy_curl.cc, lazy_archive.cc).
template <typename Function>
Function* FindInLibrary(const char* library, const char* package,
                        const char* name) {
  void* handle = dlopen(library, RTLD_NOW);  // The same one each time.
  void* found = handle == nullptr ? nullptr : dlsym(handle, name);
  if (found == nullptr)
    throw Error(std::string(dlerror()) + "; install " + package);
  return reinterpret_cast<Function*>(found);
}

}  // namespace injector
