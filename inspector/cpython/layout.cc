#include "inspector/cpython/layout.h"

#include <span>

namespace inspector {
namespace {

// Include/internal/pycore_gc.h: generations[3] of 24 bytes, generation0,
// permanent_generation, generation_stats[3], collecting, garbage, callbacks,
// long_lived_total, long_lived_pending.
constexpr Layout k311 = {
    .minor = 11,
    .gc_enabled = -12,
    .gc_permanent = 80,
    .gc_stats = 104,
    .gc_collecting = 176,
    .gc_long_lived_total = 200,
    .gc_long_lived_pending = 208,
    .gc_collecting_published = 0,
    .gc_generation_size = 24,
    .gc_threshold = 16,
    .thread_native_id = 160,
    .thread_exc_info = 120,
    .thread_exc_state = 320,
    .thread_exception = 104,
    .thread_frame = 56,
    .thread_end = 320,
    .frame_behind_cframe = true,
    .cframe_current_frame = 8,
    .iframe_code = 32,
    .iframe_function = 0,
    .iframe_previous = 48,
    .iframe_object = 40,
    .iframe_locals = 24,
    .iframe_instruction = 56,
    .iframe_stacktop = 64,
    .iframe_has_stack_pointer = false,
    .iframe_owner = 69,
    .iframe_localsplus = 72,
    .frame_back = 16,
    .frame_iframe = 24,
    .frame_line = 40,
    .traceback_next = 16,
    .traceback_frame = 24,
    .traceback_instruction = 32,
    .traceback_line = 36,
    .exception_args = 24,
    .exception_traceback = 40,
    .exception_context = 48,
    .exception_cause = 56,
    .code_consts = 24,
    .code_names = 32,
    .code_exception_table = 40,
    .code_stack_size = 68,
    .code_first_line = 72,
    .code_locals_count = 76,
    .code_locals_names = 96,
    .code_filename = 112,
    .code_qualname = 128,
    .code_line_table = 136,
    .code_instructions = 184,
    .type_name = 24,
    .type_basic_size = 32,
    .type_item_size = 40,
    .type_flags = 168,
    .type_traverse = 184,
    .type_base = 256,
    .type_dict = 264,
    .type_dict_offset = 288,
    .type_is_gc = 328,
    .type_mro = 344,
    .type_del = 376,
    .heap_type_size = 904,
    .heap_type_qualname = 864,
    .heap_type_keys = 872,
    .dict_used = 16,
    .dict_keys = 32,
    .dict_values = 40,
    .keys_log2_size = 8,
    .keys_log2_index_bytes = 9,
    .keys_kind = 10,
    .keys_usable = 16,
    .keys_entry_count = 24,
    .keys_indices = 32,
    .instance_values = -32,
    .instance_dict = -24,
    .values_header = 0,
    .function_globals = 16,
    .function_qualname = 40,
    .function_code = 48,
    .function_module = 104,
    .set_mask = 32,
    .set_table = 40,
    .set_small_table = 64,
    .list_items = 24,
    .list_allocated = 32,
    .tuple_items = 24,
    .long_has_tag = false,
    .ascii_size = 48,
    .compact_size = 72,
    .compact_utf8_length = 48,
    .generator_iframe = 80,
    .generator_state = 75,
    .has_immortals = false,
    .has_narrow_counts = false,
};

constexpr Layout Make312() {
  Layout row = k311;
  row.minor = 12;
  row.thread_native_id = 144;
  row.thread_exc_info = 104;
  row.thread_exc_state = 256;
  row.thread_exception = 96;
  row.thread_end = 256;
  row.cframe_current_frame = 0;
  row.iframe_code = 0;
  row.iframe_function = 16;
  row.iframe_previous = 8;
  row.iframe_object = 48;
  row.iframe_locals = 40;
  row.iframe_owner = 70;
  row.code_stack_size = 64;
  row.code_first_line = 68;
  row.code_locals_count = 72;
  row.code_instructions = 192;
  row.heap_type_size = 920;
  row.heap_type_qualname = 872;
  row.heap_type_keys = 880;
  row.instance_values = -24;
  row.long_has_tag = true;
  row.ascii_size = 40;
  row.compact_size = 56;
  row.compact_utf8_length = 40;
  row.generator_iframe = 72;
  row.generator_state = 67;
  row.has_immortals = true;
  return row;
}

constexpr Layout Make313() {
  Layout row = Make312();
  row.minor = 13;
  row.thread_native_id = 160;
  row.thread_exc_info = 120;
  row.thread_exc_state = 256;
  row.thread_exception = 112;
  row.thread_frame = 72;
  row.thread_end = 320;  // asyncio_running_loop of _PyThreadStateImpl is last.
  row.frame_behind_cframe = false;
  row.code_instructions = 200;
  row.heap_type_size = 928;
  row.values_header = 8;  // uint8_t capacity, size, embedded, valid; padding.
  return row;
}

/// 3.14.5 and later: the collector before it was another one.
constexpr Layout Make314() {
  Layout row = Make313();
  row.minor = 14;
  row.gc_permanent = 72;
  row.gc_stats = 96;
  row.gc_collecting = 168;
  row.gc_long_lived_total = 216;
  row.gc_long_lived_pending = 224;
  row.thread_end = 880;  // asyncio_running_task
  row.iframe_owner = 74;
  row.iframe_has_stack_pointer = true;
  row.iframe_localsplus = 80;
  row.code_instructions = 208;
  row.heap_type_size = 936;
  row.tuple_items = 32;
  row.has_narrow_counts = true;
  return row;
}

constexpr Layout k312 = Make312();
constexpr Layout k313 = Make313();
constexpr Layout k314 = Make314();

/// A word of _Py_DebugOffsets, counted from its start, and what it tells.
/// The struct is the same within a minor version (Doc/howto/remote_debugging).
struct PublishedOffset {
  size_t word;
  size_t Layout::*field;
};

// Include/internal/pycore_runtime.h, 3.13.
constexpr PublishedOffset k313Offsets[] = {
    {23, &Layout::thread_frame},       {25, &Layout::thread_native_id},
    {29, &Layout::iframe_previous},    {30, &Layout::iframe_code},
    {31, &Layout::iframe_instruction}, {32, &Layout::iframe_localsplus},
    {33, &Layout::iframe_owner},       {35, &Layout::code_filename},
    {37, &Layout::code_qualname},      {38, &Layout::code_line_table},
    {39, &Layout::code_first_line},    {41, &Layout::code_locals_names},
    {43, &Layout::code_instructions},  {47, &Layout::type_name},
    {49, &Layout::type_flags},         {51, &Layout::tuple_items},
    {54, &Layout::list_items},         {57, &Layout::dict_keys},
    {58, &Layout::dict_values},        {70, &Layout::ascii_size},
};

// Include/internal/pycore_debug_offsets.h, 3.14.
constexpr PublishedOffset k314Offsets[] = {
    {26, &Layout::thread_frame},       {28, &Layout::thread_native_id},
    {32, &Layout::iframe_previous},    {33, &Layout::iframe_code},
    {34, &Layout::iframe_instruction}, {35, &Layout::iframe_localsplus},
    {36, &Layout::iframe_owner},       {37, &Layout::iframe_stacktop},
    {40, &Layout::code_filename},      {42, &Layout::code_qualname},
    {43, &Layout::code_line_table},    {44, &Layout::code_first_line},
    {46, &Layout::code_locals_names},  {48, &Layout::code_instructions},
    {53, &Layout::type_name},          {55, &Layout::type_flags},
    {57, &Layout::tuple_items},        {60, &Layout::list_items},
    {64, &Layout::set_table},          {65, &Layout::set_mask},
    {67, &Layout::dict_keys},          {68, &Layout::dict_values},
    {80, &Layout::ascii_size},         {85, &Layout::generator_iframe},
    {86, &Layout::generator_state},
};

struct PublishedTable {
  std::span<const PublishedOffset> offsets;
  size_t interpreter_gc;  // The words of PyInterpreterState.gc and, in that, of
  size_t gc_collecting;   // `collecting`.
};

PublishedTable PublishedBy(int minor) {
  switch (minor) {
    case 13:
      return {k313Offsets, 10, 72};
    case 14:
      return {k314Offsets, 11, 82};
    default:
      return {};
  }
}

}  // namespace

const Layout* LayoutRow(int minor) {
  switch (minor) {
    case 11:
      return &k311;
    case 12:
      return &k312;
    case 13:
      return &k313;
    case 14:
      return &k314;
    default:
      return nullptr;
  }
}

bool TakePublishedOffsets(const void* py_runtime, uint64_t version,
                          Layout& layout) {
  PublishedTable table = PublishedBy(layout.minor);
  if (table.offsets.empty()) return true;
  auto word = [py_runtime](size_t index) {
    return Read<uint64_t>(py_runtime, ptrdiff_t(8 * index));
  };
  constexpr uint64_t kMost = 1 << 20;  // No struct is as large.
  bool is_ours = std::memcmp(py_runtime, "xdebugpy", 8) == 0 &&
                 word(1) == version && word(2) == 0;  // With the GIL.
  for (const PublishedOffset& offset : table.offsets) {
    is_ours = is_ours && word(offset.word) < kMost;
    if (is_ours) layout.*offset.field = word(offset.word);
  }
  layout.gc_collecting_published =
      int(word(table.interpreter_gc) + word(table.gc_collecting));
  return is_ours;
}

}  // namespace inspector
