#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inspector {

/// Where CPython keeps what it has: byte offsets on x86-64, GIL builds, from
/// the headers of 3.11.2, 3.11.7, 3.12.1, 3.13.0, 3.13.15 and 3.14.8
/// (Include/cpython, Include/internal). One row per minor version, corrected
/// from 3.13 on by what the interpreter publishes of itself. No row is
/// believed: see `FindRuntime`, which compares each field with what the
/// interpreter answers.
struct Layout {
  int minor;

  // _gc_runtime_state, counted from the head of generation 0, because that
  // head is found by behaviour and its place differs inside 3.13.
  int gc_enabled;    // -12; -8 with Debian's 3.13 alignment patch.
  int gc_permanent;  // Head of the permanent generation.
  int gc_stats;      // generation_stats[3].
  int gc_collecting;
  int gc_long_lived_total;
  int gc_long_lived_pending;
  int gc_collecting_published;  // From the interpreter; 0: not told.
  size_t gc_generation_size;    // sizeof(struct gc_generation).
  size_t gc_threshold;          // In a generation; its count is 4 further.

  // PyThreadState.
  size_t thread_native_id;
  size_t thread_exc_info;    // _PyErr_StackItem*
  size_t thread_exc_state;   // The bottom _PyErr_StackItem, in place.
  size_t thread_exception;   // current_exception, 3.11: curexc_value.
  size_t thread_frame;       // current_frame, before 3.13: cframe.
  size_t thread_end;         // Of what may refer to objects.
  bool frame_behind_cframe;  // thread_frame leads to a _PyCFrame first.
  size_t cframe_current_frame;

  // _PyInterpreterFrame.
  size_t iframe_code;
  size_t iframe_function;
  size_t iframe_previous;
  size_t iframe_object;  // frame_obj
  size_t iframe_locals;  // f_locals
  size_t iframe_instruction;
  size_t iframe_stacktop;  // int, -1 in a C call; 3.14+: stackpointer.
  bool iframe_has_stack_pointer;
  size_t iframe_owner;
  size_t iframe_localsplus;

  // PyFrameObject, PyTracebackObject, PyBaseExceptionObject.
  size_t frame_back;
  size_t frame_iframe;
  size_t frame_line;
  size_t traceback_next;
  size_t traceback_frame;
  size_t traceback_instruction;  // tb_lasti
  size_t traceback_line;
  size_t exception_args;
  size_t exception_traceback;
  size_t exception_context;
  size_t exception_cause;

  // PyCodeObject.
  size_t code_consts;
  size_t code_names;
  size_t code_exception_table;
  size_t code_stack_size;
  size_t code_first_line;
  size_t code_locals_count;  // co_nlocalsplus
  size_t code_locals_names;
  size_t code_filename;
  size_t code_qualname;
  size_t code_line_table;
  size_t code_instructions;  // co_code_adaptive

  // PyTypeObject, PyHeapTypeObject.
  size_t type_name;
  size_t type_basic_size;
  size_t type_item_size;
  size_t type_flags;
  size_t type_traverse;
  size_t type_base;
  size_t type_dict;
  size_t type_dict_offset;
  size_t type_is_gc;
  size_t type_mro;
  size_t type_del;
  size_t heap_type_size;
  size_t heap_type_qualname;
  size_t heap_type_keys;  // ht_cached_keys

  // PyDictObject, PyDictKeysObject.
  size_t dict_used;
  size_t dict_keys;
  size_t dict_values;
  size_t keys_log2_size;
  size_t keys_log2_index_bytes;
  size_t keys_kind;
  size_t keys_usable;
  size_t keys_entry_count;
  size_t keys_indices;

  // Instance values: 3.11 a pointer 32 before the object, 3.12 one 24 before
  // with bit 0 set, 3.13 in the object behind tp_basicsize.
  int instance_values;
  int instance_dict;
  size_t values_header;  // Bytes before the first value in 3.13's struct.

  // PyFunctionObject.
  size_t function_globals;
  size_t function_qualname;
  size_t function_code;
  size_t function_module;

  // PySetObject, PyListObject, PyTupleObject, PyLongObject, PyASCIIObject.
  size_t set_mask;
  size_t set_table;
  size_t set_small_table;
  size_t list_items;
  size_t list_allocated;
  size_t tuple_items;
  bool long_has_tag;  // 3.12+: lv_tag >> 3 digits; before: |ob_size|.
  size_t ascii_size;
  size_t compact_size;
  size_t compact_utf8_length;

  // PyGenObject.
  size_t generator_iframe;
  size_t generator_state;  // int8_t gi_frame_state

  bool has_immortals;      // 3.12+: bit 31 of the reference count.
  bool has_narrow_counts;  // 3.14+: 32 bits, flags behind them.
};

/// Words that all supported versions keep in the same place.
inline constexpr size_t kObjectRefCount = 0;
inline constexpr size_t kObjectType = 8;
inline constexpr size_t kObjectSize = 16;  // ob_size of a PyVarObject.
inline constexpr size_t kFirstField = 16;
inline constexpr size_t kGcHeadSize = 16;
inline constexpr size_t kUnicodeLength = 16;
inline constexpr size_t kUnicodeState = 32;
inline constexpr size_t kTypeDealloc = 48;
inline constexpr size_t kTypeDoc = 176;
inline constexpr size_t kBytesData = 32;
inline constexpr size_t kModuleName = 48;     // md_name
inline constexpr size_t kThreadIdBefore = 8;  // thread_id, by native_thread_id
inline constexpr size_t kDateTimeZone = 40;   // PyDateTime_DateTime::tzinfo

/// Type flags (Include/object.h, the same in 3.11 … 3.14).
inline constexpr uint64_t kFlagManagedWeakref = 1 << 3;  // 3.12+
inline constexpr uint64_t kFlagManagedDict = 1 << 4;
inline constexpr uint64_t kFlagInlineValues = 1 << 2;  // 3.13+
inline constexpr uint64_t kFlagHeapType = 1 << 9;
inline constexpr uint64_t kFlagHaveGc = 1 << 14;
inline constexpr uint64_t kFlagLong = 1 << 24;
inline constexpr uint64_t kFlagList = 1 << 25;
inline constexpr uint64_t kFlagTuple = 1 << 26;
inline constexpr uint64_t kFlagBytes = 1 << 27;
inline constexpr uint64_t kFlagUnicode = 1 << 28;
inline constexpr uint64_t kFlagDict = 1 << 29;
inline constexpr uint64_t kFlagException = 1 << 30;
inline constexpr uint64_t kFlagType = uint64_t{1} << 31;

/// Reads a field of a struct we know by offset only.
template <typename T>
T Read(const void* base, ptrdiff_t offset) {
  T value;
  std::memcpy(&value, static_cast<const char*>(base) + offset, sizeof(T));
  return value;
}
inline const char* ReadPointer(const void* base, ptrdiff_t offset) {
  return Read<const char*>(base, offset);
}

/// The rows, one per minor version; null for a version we do not know.
const Layout* LayoutRow(int minor);

/// Puts the offsets that the interpreter publishes at the start of `_PyRuntime`
/// (_Py_DebugOffsets: 3.13 and later) in place of the row's. `version`: what
/// Py_Version says. Returns false if a version that has them does not show
/// them, or shows those of another build.
bool TakePublishedOffsets(const void* py_runtime, uint64_t version,
                          Layout& layout);

}  // namespace inspector
