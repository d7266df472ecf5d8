#pragma once

#include <string>

#include "inspector/agent/connection.h"

namespace inspector {

/// CYCLESCOPE_SIGNAL. One handler for the process, put in front of what was
/// there and calling it, so that neither signal.getsignal() nor a handler of
/// the service's changes. A handler that the service installs later replaces
/// ours, and we leave it so: put in front of it again, the two of us could call
/// each other for ever (faulthandler.register with chain=True calls ours).
///
/// Called with the GIL held, except for the last two.

/// From now on the signal is noted and a byte written to `wake`, a pipe, while
/// that number leads to the file `pipe`. Forked
/// children do with it what they did without us; if `children_are_armed`, they
/// note it for an agent of theirs, which takes over the handler by this call.
/// Returns an empty text, or a sentence that says why it cannot be used.
std::string CatchSignal(int number, int wake, FileId pipe,
                        bool children_are_armed);
/// Puts back what was there, unless it is not ours any more.
void ReleaseSignal();

/// True once for all signals that came since the last call.
bool TakeSignal();
/// The service has put its own handler in place of ours.
bool SignalIsTaken();

}  // namespace inspector
