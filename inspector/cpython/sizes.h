#pragma once

#include "inspector/cpython/allocator.h"
#include "inspector/cpython/object.h"

namespace inspector {

/// Bytes that the object and its own buffers were asked to have: what
/// `sys.getsizeof` would say plus what it leaves out (inline values of 3.13,
/// separate values of 3.11 and 3.12): the rules of Objects/*object.c, compared
/// with getsizeof at load and in the tests. No Python code.
uint64_t AskedSize(const Runtime& runtime, const PyObject* object);

/// Bytes of the blocks that they lie in, by who handed them out: the object
/// with its head, a list's items, a dict's keys, a set's table, attribute
/// values. C buffers behind foreign types are not known and not in it. In the
/// child, once `Allocator::Open` was called; before, as AskedSize.
BlockBytes BlocksOf(const Runtime& runtime, const PyObject* object);

/// The sum of BlocksOf.
uint64_t ShallowSize(const Runtime& runtime, const PyObject* object);

/// Whether an object of the type can have other blocks than its own, among
/// those that BlocksOf knows of.
bool MayHaveMoreBlocks(const Runtime& runtime, const PyObject* type);

/// Whether the type was made by a C extension whose objects may own memory that
/// no rule here knows.
bool MayOwnBuffers(const Runtime& runtime, const PyObject* type);

/// Bytes before the object: collector head, managed dict and weakref words.
uint64_t PreHeaderSize(const Runtime& runtime, const PyObject* type);

/// PyObject_IS_GC without a call that could allocate.
bool IsCollectable(const Runtime& runtime, PyObject* object);

}  // namespace inspector
