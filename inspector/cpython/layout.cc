#include "inspector/cpython/layout.h"

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
    .gc_generation_size = 24,
    .gc_threshold = 16,
    .thread_native_id = 160,
    .thread_exc_info = 120,
    .thread_exc_state = 320,
    .thread_exception = 104,
    .thread_frame = 56,
    .frame_behind_cframe = true,
    .cframe_current_frame = 8,
    .iframe_code = 32,
    .iframe_function = 0,
    .iframe_previous = 48,
    .iframe_object = 40,
    .iframe_locals = 24,
    .iframe_instruction = 56,
    .iframe_stacktop = 64,
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
    .long_has_tag = false,
    .ascii_size = 48,
    .compact_size = 72,
    .compact_utf8_length = 48,
    .generator_iframe = 80,
    .has_immortals = false,
};

constexpr Layout Make312() {
  Layout row = k311;
  row.minor = 12;
  row.thread_native_id = 144;
  row.thread_exc_info = 104;
  row.thread_exc_state = 256;
  row.thread_exception = 96;
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
  row.frame_behind_cframe = false;
  row.code_instructions = 200;
  row.heap_type_size = 928;
  row.values_header = 8;  // uint8_t capacity, size, embedded, valid; padding.
  return row;
}

constexpr Layout k312 = Make312();
constexpr Layout k313 = Make313();

}  // namespace

const Layout* LayoutRow(int minor) {
  switch (minor) {
    case 11:
      return &k311;
    case 12:
      return &k312;
    case 13:
      return &k313;
    default:
      return nullptr;
  }
}

}  // namespace inspector
