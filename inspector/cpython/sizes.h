#pragma once

#include "inspector/cpython/object.h"

namespace inspector {

/// Bytes of the object itself, as `sys.getsizeof` would say plus what it leaves
/// out (inline values of 3.13, separate values of 3.11 and 3.12): the rules of
/// Objects/*object.c, compared with getsizeof at load and in the tests. C
/// buffers behind foreign types are not known and not in it. No Python code.
uint64_t ShallowSize(const Runtime& runtime, const PyObject* object);

/// Bytes before the object: collector head, managed dict and weakref words.
uint64_t PreHeaderSize(const Runtime& runtime, const PyObject* type);

/// PyObject_IS_GC without a call that could allocate.
bool IsCollectable(const Runtime& runtime, PyObject* object);

}  // namespace inspector
