// The parts come from several books, and none of them is made to fit:
//
//   live + floating + pymalloc_used_other   pymalloc's blocks in use, by its
//     pools, plus what objects have in malloc (big blocks, big buffers)
//   pymalloc_free      freed blocks by the pools' books; what was never a block
//     by the page table
//   malloc_used + malloc_free   by mallinfo2, less what objects have there
//   not_resident       malloc's heaps and mapped chunks, by the mappings and
//     their own heads: size less pages in the page table
//   module_data, other_mappings, stacks     by the page table and smaps
//   file, shared       by /proc/self/status
//   rss                these two and all anonymous memory by smaps
//
// `unexplained` is what they miss of `rss`, or exceed it by. So a heap that was
// not recognised as malloc's, a pool that is read wrongly, memory that is
// swapped out, all show there. Two figures are splits of a measured sum by what
// the walk says of objects, and an error of the walk shows in them instead:
// pymalloc_used_other and malloc_used.
//
// pymalloc maps its arenas itself, so malloc does not count them. Residence is
// read by the child and is exact at the clone; malloc speaks for itself just
// before it: what the service allocated between the two is in `unexplained`.

#include "inspector/agent/memory_bridge.h"

#include <algorithm>

namespace inspector {
namespace {

int64_t Signed(uint64_t bytes) { return static_cast<int64_t>(bytes); }

int64_t AtLeastZero(int64_t bytes) { return std::max<int64_t>(0, bytes); }

void Write(JsonWriter& json, std::string_view key,
           std::optional<int64_t> value) {
  if (value)
    json.Field(key, *value);
  else
    json.NullField(key);
}

}  // namespace

MemoryBridge BuildMemoryBridge(const ChildSnapshot& snapshot) {
  MemoryBridge bridge;
  const ResidentMemory& resident = snapshot.resident;
  const ProcessMemory& before = snapshot.memory;
  const BlockBytes& live = snapshot.live;
  const BlockBytes& floating = snapshot.floating;
  bridge.file = before.file;
  bridge.shared = before.shared;
  bridge.anon = before.anon;
  bridge.rss = before.rss;
  auto in_blocks = [](const BlockBytes& bytes) {
    return Signed(bytes.total() - bytes.fixed);
  };
  bridge.live = in_blocks(live);
  bridge.floating = in_blocks(floating);
  bridge.frozen_garbage = in_blocks(snapshot.frozen_garbage);
  if (snapshot.has_pools) {
    int64_t used = Signed(snapshot.pools.used_blocks);
    bridge.pymalloc_used_other =
        AtLeastZero(used - Signed(live.pymalloc + floating.pymalloc));
    bridge.pymalloc_free = Signed(snapshot.pools.resident_free);
  }
  int64_t in_malloc = Signed(live.malloc + floating.malloc);
  if (snapshot.malloc) {
    bridge.malloc_used = AtLeastZero(snapshot.malloc->used - in_malloc);
    bridge.malloc_free = snapshot.malloc->free;
    bridge.malloc_top = snapshot.malloc->top;
  }
  if (resident.anon < 0) return bridge;
  bridge.anon = resident.anon;
  bridge.module_data = resident.module_data;
  bridge.other_mappings =
      AtLeastZero(resident.other - Signed(live.foreign + floating.foreign));
  bridge.stacks = resident.stacks;
  if (snapshot.malloc)
    bridge.not_resident = resident.malloc_size - resident.malloc;
  if (!bridge.file || !bridge.shared) return bridge;
  bridge.rss = *bridge.anon + *bridge.file + *bridge.shared;
  // Without malloc's own figures its part is known as a whole only.
  int64_t malloc = snapshot.malloc ? *bridge.malloc_used + *bridge.malloc_free -
                                         *bridge.not_resident
                                   : AtLeastZero(resident.malloc - in_malloc);
  bridge.unexplained = *bridge.rss - *bridge.live - *bridge.floating -
                       bridge.pymalloc_used_other.value_or(0) -
                       bridge.pymalloc_free.value_or(0) - malloc -
                       *bridge.module_data - *bridge.other_mappings -
                       *bridge.stacks - *bridge.file - *bridge.shared;
  return bridge;
}

void WriteMemory(const ChildSnapshot& snapshot, JsonWriter& json) {
  const std::optional<CgroupMemory>& cgroup = snapshot.cgroup;
  MemoryBridge bridge = BuildMemoryBridge(snapshot);
  json.BeginObject();
  Write(json, "rss", bridge.rss);
  Write(json, "anon", bridge.anon);
  Write(json, "live", bridge.live);
  Write(json, "frozen_garbage", bridge.frozen_garbage);
  Write(json, "floating", bridge.floating);
  Write(json, "pymalloc_used_other", bridge.pymalloc_used_other);
  Write(json, "pymalloc_free", bridge.pymalloc_free);
  Write(json, "malloc_used", bridge.malloc_used);
  Write(json, "malloc_free", bridge.malloc_free);
  Write(json, "malloc_top", bridge.malloc_top);
  Write(json, "not_resident", bridge.not_resident);
  Write(json, "module_data", bridge.module_data);
  Write(json, "other_mappings", bridge.other_mappings);
  Write(json, "stacks", bridge.stacks);
  Write(json, "file", bridge.file);
  Write(json, "shared", bridge.shared);
  Write(json, "unexplained", bridge.unexplained);
  Write(json, "cgroup_anon", cgroup ? cgroup->anon : std::optional<int64_t>());
  Write(json, "cgroup_usage",
        cgroup ? cgroup->usage : std::optional<int64_t>());
  Write(json, "cgroup_limit",
        cgroup ? cgroup->limit : std::optional<int64_t>());
  json.Key("pymalloc");
  if (snapshot.has_pools) {
    const PoolFigures& pools = snapshot.pools;
    json.BeginObject();
    json.Field("arenas", pools.arenas);
    json.Field("arena_bytes", pools.arena_bytes);
    json.Field("resident", snapshot.resident.arenas);
    json.Field("used_blocks", pools.used_blocks);
    json.Field("free_blocks", pools.free_blocks);
    json.Field("free_pools", pools.free_pools);
    json.Field("unused", pools.unused);
    json.Field("overhead", pools.overhead);
    json.EndObject();
  } else {
    json.Null();
  }
  json.Field("objects_in_malloc",
             snapshot.live.malloc + snapshot.floating.malloc);
  json.Field("objects_in_module_data",
             snapshot.live.fixed + snapshot.floating.fixed);
  json.EndObject();
}

void WriteMemoryLimits(const ChildSnapshot& snapshot, JsonWriter& json) {
  const std::optional<CgroupMemory>& cgroup = snapshot.cgroup;
  auto add = [&json](std::string_view field, std::string_view reason) {
    json.BeginObject();
    json.Field("field", field);
    json.Field("reason", reason);
    json.EndObject();
  };
  add("memory.malloc_used",
      snapshot.malloc
          ? "malloc's blocks without those that live and floating hold; C "
            "buffers that no rule here knows are in it"
          : std::string_view(snapshot.malloc_reason));
  if (!snapshot.malloc) {
    for (const char* field : {"memory.malloc_free", "memory.malloc_top",
                              "memory.not_resident", "taken.mallinfo_ms"})
      add(field, snapshot.malloc_reason);
  }
  if (!snapshot.has_pools) {
    for (const char* field : {"memory.pymalloc_used_other",
                              "memory.pymalloc_free", "memory.pymalloc"})
      add(field, snapshot.pools_reason);
  }
  if (snapshot.resident.anon < 0) {
    for (const char* field :
         {"memory.not_resident", "memory.module_data", "memory.other_mappings",
          "memory.stacks", "memory.unexplained"})
      add(field, "/proc/self/smaps cannot be read");
  }
  if (!snapshot.has_sizes) {
    for (const char* field : {"heap.bytes", "memory.live"})
      add(field,
          "blocks that are not pymalloc's come from another allocator than "
          "glibc's malloc (PYTHONMALLOC=mimalloc, or one put before it): their "
          "sizes, in all of this report, are those that were asked for");
    add("memory.other_mappings",
        "free memory of the allocator that serves the objects is in it");
  }
  if (snapshot.memory.swap.value_or(0) > 0)
    add("memory.unexplained",
        "memory of the process is swapped out: the parts count what they have "
        "there, too, so that this is too small by up to all of it");
  if (!cgroup || !cgroup->anon)
    add("memory.cgroup_anon", "no memory cgroup can be read here");
  if (!cgroup || !cgroup->usage)
    add("memory.cgroup_usage", "no memory cgroup can be read here");
  if (!cgroup || !cgroup->limit)
    add("memory.cgroup_limit", cgroup ? "the memory cgroup has no limit"
                                      : "no memory cgroup can be read here");
}

}  // namespace inspector
