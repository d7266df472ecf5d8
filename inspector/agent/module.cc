// What Python loads. `start()` finds and verifies the interpreter, opens the
// socket and starts the agent; everything else happens on the agent's thread.

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "inspector/agent/agent.h"
#include "inspector/agent/signal_trigger.h"
#include "inspector/cpython/py_ref.h"

namespace inspector {
namespace {

// One per process. Never deleted: a fork hook on another thread may still be
// inside it when the interpreter goes. Set and read with the GIL.
Agent* the_agent = nullptr;

// Threads between our two hooks of os.fork, which give way to each other while
// the agent stops. The last one to leave starts it again. With the GIL.
int forks_under_way = 0;

// Of the thread that forks, and so of its child. Set before the fork.
thread_local bool forks_on_main_thread = false;

// Registered with atexit, which owns it, and stays so in a forked child, as the
// fork hooks do. With the GIL, as is the next.
PyObject* exit_function = nullptr;
bool is_ending = false;

constexpr char kEnding[] = "the process is ending; no snapshot can be had";

/// Thrown when Python's error indicator is set already.
struct PythonError {};

PyRef Checked(PyObject* object) {
  if (object == nullptr) throw PythonError();
  return PyRef::Steal(object);
}

/// Runs `body` and turns what it throws into a Python exception: nothing may
/// unwind through the interpreter's C frames.
template <typename Body>
PyObject* ReturnToPython(Body body) noexcept {
  try {
    return body().release();
  } catch (const PythonError&) {  // The error indicator is set already.
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyRef None() { return PyRef::Borrow(Py_None); }

/// Ends the agent's thread. GIL held, and let go only if the thread may be
/// waiting for it.
void StopThread(Agent& agent) {
  constexpr int kPatienceMs = 20;  // Its longest step while a child works is 5.
  if (agent.StopWithin(kPatienceMs)) return;
  PyThreadState* thread = PyEval_SaveThread();
  agent.Stop();
  PyEval_RestoreThread(thread);
}

/// For Py_AddPendingCall: runs on the main thread, between two instructions.
int StartLater(void* /*unused*/) noexcept {
  if (the_agent != nullptr && forks_under_way == 0) the_agent->Start();
  return 0;
}

PyObject* AtExit(PyObject*, PyObject*) {
  is_ending = true;
  // First out of sight: a thread that has just forked must not start it again.
  Agent* agent = std::exchange(the_agent, nullptr);
  if (agent == nullptr) Py_RETURN_NONE;
  StopThread(*agent);
  agent->Leave();
  Py_RETURN_NONE;
}

/// 3.12 and later warn when a process with several threads forks, and count the
/// kernel's threads: ours must not make the difference (Modules/posixmodule.c,
/// warn_about_fork_with_threads).
bool MustStopToFork(const Agent& agent) {
  constexpr int kMainAndOurs = 2;
  return agent.runtime().layout->minor >= 12 && ThreadCount() <= kMainAndOurs;
}

PyObject* BeforeFork(PyObject*, PyObject*) {
  ++forks_under_way;
  forks_on_main_thread = syscall(SYS_gettid) == getpid();
  Agent* agent = the_agent;
  if (agent == nullptr) Py_RETURN_NONE;
  if (MustStopToFork(*agent)) StopThread(*agent);
  if (!agent->gate().BeginFork()) {
    PyThreadState* thread = PyEval_SaveThread();
    agent->gate().WaitToFork();
    PyEval_RestoreThread(thread);
  }
  Py_RETURN_NONE;
}

PyObject* AfterForkInParent(PyObject*, PyObject*) {
  --forks_under_way;
  if (the_agent == nullptr) Py_RETURN_NONE;
  the_agent->gate().EndFork();
  if (forks_under_way > 0 || the_agent->running()) Py_RETURN_NONE;
  // 3.12 counts before this hook runs, 3.13 after it. A pending call waits for
  // the main thread, which may be blocked for good; but where another thread
  // forks there are two anyway, and ours changes nothing.
  bool on_main_thread = syscall(SYS_gettid) == getpid();
  if (the_agent->runtime().layout->minor >= 13 && on_main_thread)
    Py_AddPendingCall(StartLater, nullptr);
  else
    the_agent->Start();
  Py_RETURN_NONE;
}

/// By subprocess with a preexec_fn: about to become another program, and what
/// the function may do, as to enter a user namespace, the kernel allows to
/// processes with one thread only.
bool IsForkOfSubprocess() {
  PyFrameObject* frame = PyEval_GetFrame();  // Borrowed.
  if (frame == nullptr) return false;
  PyRef code =
      PyRef::Steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  PyRef name = PyRef::Steal(PyObject_GetAttrString(code.get(), "co_name"));
  if (!name) {
    PyErr_Clear();
    return false;
  }
  return PyUnicode_CompareWithASCIIString(name.get(), "_execute_child") == 0;
}

PyObject* AfterForkInChild(PyObject*, PyObject*) {
  forks_under_way = 0;  // The threads that others belong to are not here.
  Agent* agent = std::exchange(the_agent, nullptr);
  if (agent == nullptr) Py_RETURN_NONE;
  Runtime runtime = agent->runtime();
  Settings settings = agent->settings();
  std::vector<std::string> path = agent->path();
  agent->AbandonInChild();  // Its memory is left: the thread may have held it.
  // A child of another thread ends where that thread's function returns, with
  // its last thread and the last thread state: ours would keep it alive, and
  // could not ask for the GIL any more.
  if (settings.children == "none" || !forks_on_main_thread ||
      IsForkOfSubprocess()) {
    ReleaseSignal();
    Py_RETURN_NONE;
  }
  try {
    the_agent = new Agent(std::move(runtime), std::move(settings),
                          std::move(path), Agent::Listening::kLater);
    Py_AddPendingCall(StartLater, nullptr);
  } catch (const std::exception&) {
    the_agent = nullptr;  // A worker without an agent still works.
    ReleaseSignal();
  }
  Py_RETURN_NONE;
}

PyMethodDef at_exit = {"cyclescope_stop", AtExit, METH_NOARGS, nullptr};
PyMethodDef before_fork = {"cyclescope_before_fork", BeforeFork, METH_NOARGS,
                           nullptr};
PyMethodDef after_fork_in_parent = {"cyclescope_after_fork_in_parent",
                                    AfterForkInParent, METH_NOARGS, nullptr};
PyMethodDef after_fork_in_child = {"cyclescope_after_fork_in_child",
                                   AfterForkInChild, METH_NOARGS, nullptr};

void RegisterHooks(const PyRef& stop) {
  PyRef atexit = Checked(PyImport_ImportModule("atexit"));
  Checked(PyObject_CallMethod(atexit.get(), "register", "O", stop.get()));
  PyRef os = Checked(PyImport_ImportModule("os"));
  PyRef reg = Checked(PyObject_GetAttrString(os.get(), "register_at_fork"));
  PyRef none = Checked(PyTuple_New(0));
  PyRef before = Checked(PyCFunction_New(&before_fork, nullptr));
  PyRef in_parent = Checked(PyCFunction_New(&after_fork_in_parent, nullptr));
  PyRef in_child = Checked(PyCFunction_New(&after_fork_in_child, nullptr));
  PyRef names = Checked(Py_BuildValue("{sOsOsO}", "before", before.get(),
                                      "after_in_parent", in_parent.get(),
                                      "after_in_child", in_child.get()));
  Checked(PyObject_Call(reg.get(), none.get(), names.get()));
}

std::vector<std::string> SearchPath() {
  std::vector<std::string> path;
  PyObject* entries = PySys_GetObject("path");  // Borrowed.
  for (Py_ssize_t i = 0; entries != nullptr && i < PyList_Size(entries); ++i) {
    PyObject* entry = PyList_GetItem(entries, i);
    if (!PyUnicode_Check(entry)) continue;
    PyRef bytes = PyRef::Steal(PyUnicode_EncodeFSDefault(entry));
    if (bytes)
      path.emplace_back(PyBytes_AsString(bytes.get()));
    else
      PyErr_Clear();
  }
  return path;
}

PyObject* Start(PyObject*, PyObject*) {
  return ReturnToPython([] {
    if (the_agent != nullptr) return None();
    if (is_ending) throw std::runtime_error(kEnding);
    // Site runs in sub-interpreters, too.
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) return None();
    Settings settings = ReadSettings();
    Runtime runtime;
    std::string mismatch = FindRuntime(runtime);
    if (!mismatch.empty()) throw std::runtime_error(mismatch);
    PyRef stop = Checked(PyCFunction_New(&at_exit, nullptr));
    runtime.exit_function =
        exit_function != nullptr ? exit_function : stop.get();
    auto agent =
        std::make_unique<Agent>(std::move(runtime), std::move(settings),
                                SearchPath(), Agent::Listening::kNow);
    if (exit_function == nullptr) {
      RegisterHooks(stop);
      exit_function = stop.get();
    }
    if (!agent->Start())
      throw std::runtime_error("the system refuses a thread for the agent");
    the_agent = agent.release();
    // Programs that this one starts inherit it and stay unarmed; the hook
    // looks at it. os.environ was read before and does not show it.
    setenv("CYCLESCOPE_ARMED", std::to_string(getpid()).c_str(), 1);
    return None();
  });
}

/// Names from a list of str, or what the environment said for None.
std::vector<std::string> WatchFrom(PyObject* list) {
  if (list == Py_None) return the_agent->settings().watch;
  std::vector<std::string> watch;
  if (!PyList_Check(list)) throw std::runtime_error("watch is a list of names");
  for (Py_ssize_t i = 0; i < PyList_Size(list); ++i) {
    PyRef bytes = Checked(PyUnicode_AsUTF8String(PyList_GetItem(list, i)));
    watch.emplace_back(PyBytes_AsString(bytes.get()));
  }
  return watch;
}

/// Lets go of the GIL until the order is fulfilled or some time has passed. A
/// daemon thread may end inside, at the interpreter's own end, by pthread_exit:
/// no object with a destructor here or in what calls this, and no noexcept.
bool WaitWithoutGil(SnapshotOrder* order) {
  constexpr int kSliceMs = 100;
  PyThreadState* thread = PyEval_SaveThread();
  bool done = order->WaitFor(kSliceMs);
  PyEval_RestoreThread(thread);
  return done;
}

using OrderHandle = std::shared_ptr<SnapshotOrder>;

PyObject* Snapshot(PyObject*, PyObject* watch) {
  OrderHandle* order = nullptr;
  PyObject* ordered = ReturnToPython([&order, watch] {
    if (the_agent == nullptr)
      throw std::runtime_error("the agent does not run in this process");
    order = new OrderHandle(the_agent->Order(WatchFrom(watch)));
    return None();
  });
  if (ordered == nullptr) return nullptr;
  Py_DecRef(ordered);
  bool interrupted = false;
  bool done = false;
  while (!done && !interrupted && the_agent != nullptr) {
    // After a fork it starts between two instructions of the main thread, which
    // may be this one.
    if (forks_under_way == 0) the_agent->Start();
    done = WaitWithoutGil(order->get());
    interrupted = PyErr_CheckSignals() != 0;
  }
  return ReturnToPython([order, interrupted, done] {
    OrderHandle ours = std::move(*order);
    delete order;
    if (interrupted) throw PythonError();
    if (!done) throw std::runtime_error(kEnding);
    const std::string& text = ours->reply();
    return Checked(PyUnicode_DecodeUTF8(
        text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  });
}

PyMethodDef methods[] = {
    {"snapshot", Snapshot, METH_O,
     "Have the agent take a snapshot; the report as JSON text.\n\n"
     "The argument is a list of types to watch, or None for those of the\n"
     "environment. Used by the module cyclescope."},
    {"start", Start, METH_NOARGS,
     "Verify the interpreter, open the socket and start the agent thread.\n\n"
     "Raises RuntimeError with one sentence if this interpreter is not known\n"
     "or the socket cannot be made; nothing is left behind then. A second\n"
     "call does nothing."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef module = {PyModuleDef_HEAD_INIT,
                      "_cyclescope",
                      "The inspector of cyclescope; see start().",
                      -1,
                      methods,
                      nullptr,
                      nullptr,
                      nullptr,
                      nullptr};

}  // namespace
}  // namespace inspector

PyMODINIT_FUNC PyInit__cyclescope() {
  return PyModule_Create(&inspector::module);
}
