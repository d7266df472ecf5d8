#pragma once

#include <string_view>

#include "inspector/cpython/object.h"

// Code objects, frames and tracebacks: which function, which line, which code.

namespace inspector {

/// The source line of the instruction at byte offset `instruction` (what
/// PyCode_Addr2Line says), -1 if it has none. Format: Objects/locations.md,
/// 3.11+. O(length of the table).
int LineOf(const Layout& layout, const PyObject* code, int instruction);

/// The code of an interpreter frame (the part that a running function uses).
PyObject* CodeOf(const Layout& layout, const char* iframe);

/// The code of a frame object, whether it runs or has returned; may be null.
PyObject* CodeOfFrame(const Layout& layout, const PyObject* frame);
int LineOfFrame(const Layout& layout, const PyObject* frame);
int LineOfInterpreterFrame(const Layout& layout, const char* iframe);
int LineOfTraceback(const Layout& layout, const PyObject* traceback);

/// The interpreter frame inside a generator, coroutine or asynchronous
/// generator.
inline const char* FrameOfGenerator(const Layout& layout,
                                    const PyObject* generator) {
  return reinterpret_cast<const char*>(generator) + layout.generator_iframe;
}
/// False once it has ended: what its frame held is gone then, but for the code,
/// which it keeps until it goes itself (Objects/genobject.c: gi_code in 3.11,
/// f_code or f_executable of its frame in 3.12+).
inline bool HasFrame(const Layout& layout, const PyObject* generator) {
  constexpr int8_t kCompleted = 1;  // FRAME_COMPLETED; before it, it has one.
  return Read<int8_t>(generator, ptrdiff_t(layout.generator_state)) <
         kCompleted;
}
/// The code of one, whether it waits, runs or has ended; may be null.
PyObject* CodeOfGenerator(const Layout& layout, const PyObject* generator);
/// The line at which it waits or runs; -1 if it has ended.
int LineOfGenerator(const Layout& layout, const PyObject* generator);

/// `co_filename` without what differs between installations: the part behind
/// `site-packages/`, `dist-packages/` or `lib/python3.x/`.
std::string_view PortablePath(std::string_view filename);
std::string_view BaseName(std::string_view filename);

/// A hash of what the function does, as loaded: names, constants, line and
/// exception tables, local names and nested code. Bytecode is left out, since
/// the interpreter specialises it in place. Equal code gives equal hashes in
/// every process; lines count from the function's first.
uint64_t HashOfCode(const Runtime& runtime, const PyObject* code);

}  // namespace inspector
