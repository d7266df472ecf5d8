// libcurl's functions, found at their first call. Linked as usual, libcurl and
// the 30 libraries that it needs (LDAP, Kerberos, TLS) are loaded before main:
// 5 ms, of a program that most verbs, `run` among them, use without any HTTP.

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>

#include <cstdarg>
#include <string>

#include "injector/environment.h"

#undef curl_easy_getinfo
#undef curl_easy_setopt

namespace {

void* Library() {
  static void* library = dlopen("libcurl.so.4", RTLD_NOW);
  if (library == nullptr)
    throw injector::Error(std::string("HTTP needs libcurl: ") + dlerror() +
                          "; install it (Debian: libcurl4)");
  return library;
}

/// The library's own function of that name and type.
template <typename Function>
Function* Find(const char* name) {
  void* found = dlsym(Library(), name);
  if (found == nullptr)
    throw injector::Error(std::string("libcurl has no ") + name +
                          "; install a later one");
  return reinterpret_cast<Function*>(found);
}

}  // namespace

#define FIND(name) Find<decltype(name)>(#name)

extern "C" {

CURLcode curl_global_init(long flags) { return FIND(curl_global_init)(flags); }

CURL* curl_easy_init() { return FIND(curl_easy_init)(); }

void curl_easy_cleanup(CURL* curl) { FIND(curl_easy_cleanup)(curl); }

void curl_easy_reset(CURL* curl) { FIND(curl_easy_reset)(curl); }

CURLcode curl_easy_perform(CURL* curl) { return FIND(curl_easy_perform)(curl); }

const char* curl_easy_strerror(CURLcode code) {
  return FIND(curl_easy_strerror)(code);
}

// What comes last is a long, a pointer or a curl_off_t: all of one register.
CURLcode curl_easy_setopt(CURL* curl, CURLoption option, ...) {
  static_assert(sizeof(void*) == sizeof(curl_off_t) &&
                sizeof(void*) == sizeof(long));
  va_list rest;
  va_start(rest, option);
  void* value = va_arg(rest, void*);
  va_end(rest);
  return FIND(curl_easy_setopt)(curl, option, value);
}

CURLcode curl_easy_getinfo(CURL* curl, CURLINFO info, ...) {
  va_list rest;
  va_start(rest, info);
  void* value = va_arg(rest, void*);
  va_end(rest);
  return FIND(curl_easy_getinfo)(curl, info, value);
}

curl_slist* curl_slist_append(curl_slist* list, const char* text) {
  return FIND(curl_slist_append)(list, text);
}

void curl_slist_free_all(curl_slist* list) { FIND(curl_slist_free_all)(list); }

}  // extern "C"
