#include "inspector/cpython/edge_names.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "inspector/cpython/code.h"

namespace inspector {
namespace {

class NameWriter {
 public:
  NameWriter(const Runtime& runtime, char* out, char* end)
      : runtime_(runtime), layout_(*runtime.layout), out_(out), end_(end) {}
  char* out() const { return out_; }

  bool Plain(const char* text) {
    size_t length = std::min(std::strlen(text), size_t(end_ - out_));
    std::memcpy(out_, text, length);
    out_ += length;
    return true;
  }
  bool Name(const char* before, const PyObject* text) {
    Plain(before);
    out_ = AppendText(layout_, text, out_, end_);
    return true;
  }
  bool Index(int64_t index) {
    Plain("[");
    out_ = std::to_chars(out_, end_, index).ptr;
    return Plain("]");
  }

  /// One of some fields of a C struct.
  struct Field {
    size_t offset;
    const char* name;
  };
  bool OneOf(const PyObject* referrer, const PyObject* referent,
             std::initializer_list<Field> fields) {
    for (const Field& field : fields)
      if (ReadObject(referrer, field.offset) == referent)
        return Plain(field.name);
    return false;
  }

  bool Attribute(const PyObject* referrer, const PyObject* referent) {
    InstanceAttributes attributes = AttributesOf(runtime_, referrer);
    if (attributes.dict == referent && referent != nullptr)
      return Plain(".__dict__");
    if (attributes.values == nullptr) return false;
    const char* keys = ReadPointer(TypeOf(referrer), layout_.heap_type_keys);
    if (keys == nullptr) return false;
    DictEntries entries = EntriesOfKeys(layout_, keys);
    for (int64_t i = 0; i < entries.count; ++i)
      if (attributes.values[i] == referent && entries.key(i) != nullptr)
        return Name(".", entries.key(i));
    return false;
  }

  bool Item(const PyObject* owner, const PyObject* dict,
            const PyObject* referent) {
    DictEntries entries = EntriesOfDict(layout_, dict);
    for (int64_t i = 0; i < entries.count; ++i) {
      const PyObject* key = entries.key(i);
      if (key == nullptr) continue;
      if (key == referent) return Plain(" key");
      if (entries.value(i) != referent) continue;
      if (IsText(runtime_, key) && owner != nullptr &&
          IsNamespaceOf(runtime_, owner, dict))
        return Name(".", key);
      Plain("[");
      const PyObject* type = TypeOf(key);
      bool heap_type = (TypeFlags(runtime_, type) & kFlagHeapType) != 0;
      if (heap_type)
        Name("", ReadObject(type, layout_.heap_type_qualname));
      else
        Plain(ReadPointer(type, layout_.type_name));
      return Plain(" key]");
    }
    return false;
  }

  bool Local(const PyObject* frame, const PyObject* referent) {
    const PyObject* code = CodeOfFrame(layout_, frame);
    const char* iframe = ReadPointer(frame, layout_.frame_iframe);
    if (code == nullptr || iframe == nullptr) return false;
    const PyObject* names = ReadObject(code, layout_.code_locals_names);
    auto count = Read<int64_t>(names, kObjectSize);
    for (int64_t i = 0; i < count; ++i) {
      if (ReadObject(iframe, layout_.iframe_localsplus + 8 * i) == referent)
        return Name("local ", ReadObject(names, kTupleItems + 8 * i));
    }
    return false;
  }

 private:
  const Runtime& runtime_;
  const Layout& layout_;
  char* out_;
  char* end_;
};

}  // namespace

bool IsInstanceDictOf(const Runtime& runtime, const PyObject* owner,
                      const PyObject* dict) {
  const PyObject* type = TypeOf(owner);
  if ((TypeFlags(runtime, type) & kFlagType) != 0 ||
      type == runtime.type_function ||
      HasBase(runtime, type, runtime.type_module))
    return false;
  return AttributesOf(runtime, owner).dict == dict;
}

bool IsNamespaceOf(const Runtime& runtime, const PyObject* owner,
                   const PyObject* dict) {
  const Layout& layout = *runtime.layout;
  const PyObject* type = TypeOf(owner);
  if ((TypeFlags(runtime, type) & kFlagType) != 0)
    return ReadObject(owner, layout.type_dict) == dict;
  if (type == runtime.type_function)
    return ReadObject(owner, layout.function_globals) == dict;
  if (type == runtime.type_frame) {
    const char* iframe = ReadPointer(owner, layout.frame_iframe);
    return iframe != nullptr &&
           ReadObject(iframe, layout.iframe_locals) == dict;
  }
  if (HasBase(runtime, type, runtime.type_module))
    return ReadObject(owner, kFirstField) == dict;  // md_dict
  return AttributesOf(runtime, owner).dict == dict;
}

char* AppendEdgeName(const Runtime& runtime, const PyObject* owner,
                     const PyObject* referrer, const PyObject* referent,
                     char* out, char* end) {
  const Layout& layout = *runtime.layout;
  const PyObject* type = TypeOf(referrer);
  uint64_t flags = TypeFlags(runtime, type);
  NameWriter writer(runtime, out, end);
  bool named = false;
  if (type == runtime.type_frame) {
    named = writer.Local(referrer, referent) ||
            writer.OneOf(referrer, referent, {{layout.frame_back, ".f_back"}});
  } else if (type == runtime.type_traceback) {
    named = writer.OneOf(referrer, referent,
                         {{layout.traceback_frame, ".tb_frame"},
                          {layout.traceback_next, ".tb_next"}});
  } else if (type == runtime.type_function) {
    constexpr size_t kClosure = 72;  // Include/cpython/funcobject.h
    named = writer.OneOf(referrer, referent,
                         {{layout.function_globals, ".__globals__"},
                          {layout.function_code, ".__code__"},
                          {kClosure, ".__closure__"}});
  } else if (type == runtime.type_method) {
    named = writer.OneOf(referrer, referent,
                         {{kFirstField, ".__func__"}, {24, ".__self__"}});
  } else if (type == runtime.type_cell) {
    named = writer.OneOf(referrer, referent, {{kFirstField, ".cell_contents"}});
  } else if ((flags & kFlagException) != 0) {
    named = writer.OneOf(referrer, referent,
                         {{layout.exception_traceback, ".__traceback__"},
                          {layout.exception_context, ".__context__"},
                          {layout.exception_cause, ".__cause__"},
                          {layout.exception_args, ".args"}});
  } else if ((flags & kFlagDict) != 0) {
    named = writer.Item(owner, referrer, referent);
  } else if ((flags & (kFlagList | kFlagTuple)) != 0) {
    auto size = Read<int64_t>(referrer, kObjectSize);
    bool list = (flags & kFlagList) != 0;
    const char* items =
        list ? ReadPointer(referrer, layout.list_items)
             : reinterpret_cast<const char*>(referrer) + kTupleItems;
    for (int64_t i = 0; i < size && !named; ++i)
      if (ReadObject(items, 8 * i) == referent) named = writer.Index(i);
  }
  if (!named) writer.Attribute(referrer, referent);
  return writer.out();
}

}  // namespace inspector
