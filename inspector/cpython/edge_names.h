#pragma once

#include "inspector/cpython/object.h"

namespace inspector {

/// Writes how `referrer` names its reference to `referent` (".exceptions",
/// "[3]", "local broker", ".__traceback__") to [out, end) and returns the new
/// end; nothing if it has no name that we know. `owner` is the object before
/// `referrer` on the path, or null: a dict's text keys are shown only where the
/// dict is the owner's namespace, else as "[str key]" (design, Secrets).
char* AppendEdgeName(const Runtime& runtime, const PyObject* owner,
                     const PyObject* referrer, const PyObject* referent,
                     char* out, char* end);

/// True if `dict` is the attribute dict of `owner`, or a module's, function's
/// or class's namespace.
bool IsNamespaceOf(const Runtime& runtime, const PyObject* owner,
                   const PyObject* dict);

/// The attribute dict of an instance itself (not of a module or class): it
/// stands for no step of its own in a signature, since an instance that keeps
/// its values in place has none.
bool IsInstanceDictOf(const Runtime& runtime, const PyObject* owner,
                      const PyObject* dict);

}  // namespace inspector
