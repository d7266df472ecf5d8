#pragma once

#include <string>

namespace relay {

/// Copies every file beside this program into `folder`, which is made if it is
/// not there: how an init container fills the volume that the service mounts,
/// in an image that has nothing else in it. A file is there whole or not at
/// all. Returns what went wrong, in one sentence; empty if nothing did.
std::string Install(const std::string& folder);

/// The folder that this program lies in.
std::string OwnFolder();

}  // namespace relay
