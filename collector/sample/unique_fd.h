#pragma once

#include "injector/unique_fd.h"

namespace collector {

using injector::UniqueFd;

}  // namespace collector
