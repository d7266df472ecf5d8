// libcurl's functions; see lazy_library.h.

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#include <cstdarg>

#include "injector/lazy_library.h"

#undef curl_easy_getinfo
#undef curl_easy_setopt

#define FIND(name) \
  injector::FindInLibrary<decltype(name)>("libcurl.so.4", "libcurl4", #name)

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
