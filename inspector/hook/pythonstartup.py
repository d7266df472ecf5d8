# PYTHONSTARTUP=.../pythonstartup.py: interactive sessions are armed and have the
# module `cyclescope`. Python runs this in the session's own namespace, so it
# leaves that one name and no docstring, then runs the file that
# CYCLESCOPE_NEXT_STARTUP names, as Python would have.


def cyclescope(names):
    import importlib.util
    import os
    import sys
    import tokenize

    module = sys.modules.get("cyclescope")
    if module is None:
        here = os.path.dirname(os.path.abspath(cyclescope.__code__.co_filename))
        spec = importlib.util.spec_from_file_location(
            "cyclescope", os.path.join(here, "cyclescope.py")
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["cyclescope"] = module
    names["cyclescope"] = module
    try:
        module.arm()
    except Exception as error:
        sys.stderr.write("cyclescope: not loaded: %s\n" % error)
    path = os.environ.get("CYCLESCOPE_NEXT_STARTUP")
    if path:
        with tokenize.open(path) as file:
            code = compile(file.read(), path, "exec")
        exec(code, names)


cyclescope(globals())
