#!/usr/bin/env python3
"""Each rule of tidy.py finds what it is for, and lets pass what is right."""

import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy  # noqa: E402

CMAKE = {
    "common/kv/CMakeLists.txt": "cairn_library(NAME common_kv LAYER 2\n  SRCS kv.cpp DEPS x)\n",
    "common/net/CMakeLists.txt": "cairn_library(NAME common_net LAYER 4 SRCS net.cpp)\n",
    "mds/CMakeLists.txt": "cairn_library(NAME mds_x LAYER 5 SRCS x.cpp)\n",
    "client/CMakeLists.txt": "cairn_library(NAME client_x LAYER 5 SRCS y.cpp)\n",
}
GOOD = {
    "common/kv/kv.h": "// Kv.\n#pragma once\n\n#include <string>\n",
    "common/kv/kv.cpp": '#include "common/kv/kv.h"\n',
    "common/net/net.h": "// Net.\n#pragma once\n\n#include <boost/asio/post.hpp>\n",
    "common/net/net.cpp": '#include "common/net/net.h"\n\n#include "common/kv/kv.h"\n',
    "mds/x.h": "// X.\n#pragma once\n",
    "mds/x.cpp": '#include "mds/x.h"\n',
    "client/y.cpp": '#include "common/net/net.h"\n',
}


def run(changes):
    """The findings in the good tree with `changes`, as "path:line: rule"."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**CMAKE, **GOOD, **changes}.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(text)
        return [f"{path}:{line}: {rule}" for path, line, rule, _ in tidy.findings(root)]


def in_net(code):
    """Findings of `code` in common/net/net.cpp, where it starts at line 2."""
    return run({"common/net/net.cpp": '#include "common/net/net.h"\n' + code})


class Tidy(unittest.TestCase):
    def test_the_good_tree_is_good(self):
        self.assertEqual(run({}), [])

    def test_a_lower_layer_does_not_include_a_higher(self):
        text = '#include "common/kv/kv.h"\n#include "common/net/net.h"\n'
        found = run({"common/kv/kv.cpp": text})
        self.assertEqual(found, ["common/kv/kv.cpp:2: layer"])

    def test_a_header_without_cpp_has_the_layer_of_what_it_includes(self):
        found = run({"common/kv/a.h": '// A.\n#pragma once\n#include "common/net/net.h"\n',
                     "common/kv/kv.cpp": '#include "common/kv/kv.h"\n#include "common/kv/a.h"\n'})
        self.assertEqual(found, ["common/kv/kv.cpp:2: layer"])

    def test_daemons_do_not_include_each_other(self):
        self.assertEqual(run({"client/y.cpp": '#include "mds/x.h"\n'}), ["client/y.cpp:1: daemons"])

    def test_pure_code_has_no_system_and_no_protobuf(self):
        text = '#include "common/kv/kv.h"\n#include <thread>\n#include "proto/types.pb.h"\n'
        self.assertEqual(run({"common/kv/kv.cpp": text}),
                         ["common/kv/kv.cpp:2: pure", "common/kv/kv.cpp:3: layer"])

    def test_third_party_comes_through_its_door(self):
        self.assertEqual(in_net("#include <rocksdb/db.h>\n#include <strange/lib.h>\n"),
                         ["common/net/net.cpp:2: door", "common/net/net.cpp:3: include"])

    def test_bans(self):
        for code, rule in [
                ("auto t = std::chrono::steady_clock::now();\n", "clock"),
                ("std::thread t;\n", "thread"), ("std::this_thread::sleep_for(1s);\n", "sleep"),
                ("int r = rand();\n", "random"), ("std::shuffle(a, b, c);\n", "random"),
                ("throw 1;\n", "throw"),
                ("} catch (...) {\n", "catch-all"), ("using namespace std;\n", "using-namespace"),
                ("std::exit(1);\n", "terminate"), ("int a;  // TO" + "DO: more\n", "todo"),
                ("int\ta;\n", "tab"), ("int a; \n", "trailing-blank"), ("int a;" * 20, "columns"),
                ("int a;", "last-line")]:
            found = in_net(code)
            self.assertIn(f"common/net/net.cpp:2: {rule}", found, code)

    def test_bans_have_named_exceptions(self):
        code = '#include "{}"\ntask->detach();\n'
        self.assertEqual(run({"mds/x.cpp": code.format("mds/x.h")}), ["mds/x.cpp:2: detach"])
        self.assertEqual(run({"common/net/net.cpp": code.format("common/net/net.h")}), [])

    def test_comments_and_strings_are_not_code(self):
        code = '// throw rand()\nauto a = "throw";\n/* using namespace x; */\n'
        self.assertEqual(in_net(code), [])

    def test_lambda_coroutines(self):
        self.assertEqual(in_net("auto f = [x](int a) -> Task<int> { co_return x + a; };\n"),
                         ["common/net/net.cpp:2: lambda-coroutine"])
        self.assertEqual(in_net("run([&] {\n  co_await x;\n});\n"),
                         ["common/net/net.cpp:2: lambda-coroutine"])
        self.assertEqual(in_net("auto f = [](int a) -> Task<int> { co_return a; };\n"), [])
        self.assertEqual(in_net("auto f = [x](int a) { return start(x, a); };\n"), [])

    def test_waiting_inside_a_condition(self):
        self.assertEqual(in_net("int a = b ? co_await c : 1;\n"),
                         ["common/net/net.cpp:2: co_await-condition"])
        self.assertEqual(in_net("if (a && co_await c) return;\n"),
                         ["common/net/net.cpp:2: co_await-condition"])
        self.assertEqual(in_net("int a = b || co_await c(1);\n"),
                         ["common/net/net.cpp:2: co_await-condition"])
        self.assertEqual(in_net("co_await wait(done ? a : f(b && c));\n"), [])
        self.assertEqual(in_net("while (a && b) co_await c;\nauto&& d = co_await e;\n"), [])

    def test_waiting_in_a_handler(self):
        self.assertEqual(in_net("try { a(); } catch (const E& e) {\n  co_await c;\n}\n"),
                         ["common/net/net.cpp:2: co_await-catch"])

    def test_coroutine_parameters(self):
        self.assertEqual(in_net("Task<int> f(const std::string& a) {\n  co_return a.size();\n}\n"),
                         ["common/net/net.cpp:2: coroutine-reference"])
        self.assertEqual(in_net("Task<int> f(const std::string& a) {\n  return g(a);\n}\n"), [])
        self.assertEqual(in_net("Task<int> f(std::string a, Net* n) {\n  co_return 1;\n}\n"), [])

    def test_sizes(self):
        body = "void f() {\n" + "  g();\n" * 70 + "}\n"
        self.assertEqual(in_net(body), ["common/net/net.cpp:2: function-size"])
        self.assertEqual(in_net("int a;\n" * 400), ["common/net/net.cpp:401: file-size"])

    def test_headers(self):
        self.assertEqual(run({"mds/x.h": "// X.\n\nint a;\n"}), ["mds/x.h:1: pragma-once"])
        self.assertEqual(run({"mds/x.h": "#pragma once\n"}), ["mds/x.h:1: header-comment"])
        self.assertEqual(run({"mds/x.cpp": '#include <string>\n#include "mds/x.h"\n'}),
                         ["mds/x.cpp:1: own-header"])

    def test_dead_and_stray_files(self):
        self.assertEqual(run({"mds/z.cpp": "int a;\n"}), ["mds/z.cpp:1: not-built"])
        self.assertEqual(run({"mds/x.cpp.orig": ""}), ["mds/x.cpp.orig:1: stray"])
        self.assertEqual(run({"mds/CMakeLists.txt": "cairn_library(NAME a SRCS x.cpp gone.cpp)\n"}),
                         ["mds/CMakeLists.txt:1: not-there"])


if __name__ == "__main__":
    unittest.main()
