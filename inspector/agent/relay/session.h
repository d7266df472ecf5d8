#pragma once

namespace relay {

/// Greets, then serves the frames that come on stdin until it ends (frames.h).
/// Returns the exit status: 0, or 1 if what came was no frame.
int Serve();

}  // namespace relay
