#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "injector/environment.h"
#include "injector/unique_fd.h"

namespace injector {

/// Both ends, which no program that we start inherits.
struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      throw Error(std::string("pipe: ") + std::strerror(errno));
    }
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  UniqueFd read_end;
  UniqueFd write_end;
};

}  // namespace injector
