#!/usr/bin/env python3
"""The style as a test: layers, doors, bans, sizes, dead files. See docs/STYLE.md and rules.py.

tidy.py [--root DIR]        prints "file:line: rule: text", exit 1 on findings
tidy.py --format            clang-format check of all C++ files
tidy.py --list-layers       the layer of every file
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402

CPP = (".h", ".cpp")
TEXT = CPP + (".proto", ".py", ".cmake", ".sh", "CMakeLists.txt")
SKIPPED_FOLDERS = {"build", ".git", "__pycache__", "node_modules", "dev-run", ".cache"}


class Tree:
    """All files of the repository: text, code without comments, includes, layer."""

    def __init__(self, root):
        self.root = root
        self.findings = []
        self.text = {}
        self.code = {}
        self.names = []
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
            for name in sorted(files):
                path = os.path.relpath(os.path.join(folder, name), root)
                self.names.append(path)
                if name.endswith(TEXT):
                    with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                        self.text[path] = f.read()
                if name.endswith(CPP):
                    self.code[path] = strip(self.text[path])
        self.includes = {path: includes_of(self.text[path]) for path in self.code}
        self.listed, self.layers = read_cmake(self.text)

    def report(self, path, line, rule, text):
        self.findings.append((path, line, rule, text))

    def layer(self, path, seen=()):
        """Of its library; a header has that of its .cpp, or the highest that it includes."""
        if path in self.layers:
            return self.layers[path]
        twin = path[:-2] + ".cpp" if path.endswith(".h") else None
        if twin in self.layers:
            self.layers[path] = self.layers[twin]
        elif path.startswith("tests/") or path.endswith(("main.cpp", "_test.cpp")):
            self.layers[path] = 6
        elif path in seen:
            return 1
        else:
            lower = [self.layer(to, seen + (path,)) for _, to in self.includes.get(path, [])
                     if to in self.code and to != path]
            self.layers[path] = max(lower, default=1)
        return self.layers[path]


def strip(text):
    """Blanks comments, strings and characters; line numbers and columns stay."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-zA-Z])'(?:\\.|[^'\\\n])+'", re.DOTALL)

    def blank(match):
        found = match.group(0)
        inside = re.sub(r"[^\n]", " ", found)
        return '"' + inside[1:-1] + '"' if found.endswith('"') and len(found) > 1 else inside

    return pattern.sub(blank, text)


def includes_of(text):
    return [(line_of(text, m.start()), m.group(1))
            for m in re.finditer(r'^[ ]*#[ ]*include[ ]*[<"]([^">]+)[>"]', text, re.MULTILINE)]


def read_cmake(texts):
    """All sources that some CMakeLists.txt lists, and the layer of those in a cairn_* call."""
    listed, layers = set(), {}
    for path, text in texts.items():
        if os.path.basename(path) != "CMakeLists.txt":
            continue
        folder = os.path.dirname(path)
        text = re.sub(r"#[^\n]*", "", text)
        text = text.replace("${CMAKE_CURRENT_SOURCE_DIR}/", "")

        def resolve(word, folder=folder):
            word = word.replace("${CMAKE_SOURCE_DIR}", "/")
            joined = word.lstrip("/") if word.startswith("/") else os.path.join(folder, word)
            return os.path.normpath(joined)

        for word in re.findall(r"[\w./${}-]+\.cpp\b", text):
            listed.add(resolve(word))
        for kind, body in re.findall(r"\b(cairn_\w+|add_executable)\s*\(([^()]*)\)", text):
            layer = re.search(r"\bLAYER\s+(\d)", body)
            number = int(layer.group(1)) if layer else 6
            for word in re.findall(r"[\w./${}-]+\.cpp\b", body):
                source = resolve(word)
                # A file that a test compiles again keeps the layer of its library.
                layers[source] = min(number, layers.get(source, 9))
    return listed, layers


def allowed(path, prefixes):
    return any(fnmatch.fnmatchcase(path, p) if "*" in p else path.startswith(p) for p in prefixes)


def line_of(text, index):
    return text.count("\n", 0, index) + 1


def check_text(tree):
    for path, text in tree.text.items():
        for number, line in enumerate(text.split("\n"), 1):
            if "\t" in line:
                tree.report(path, number, "tab", "indent with blanks")
            if line != line.rstrip():
                tree.report(path, number, "trailing-blank", "blanks at the end of the line")
            if path.endswith(CPP + (".py",)) and len(line) > rules.COLUMNS_MAX:
                tree.report(path, number, "columns", f"{len(line)} > {rules.COLUMNS_MAX}")
            if path.startswith("tests/lint/"):
                continue
            mark = re.search(r"\b(TODO|FIXME|XXX)\b", line)
            if mark:
                tree.report(path, number, "todo", "finish it, or write an issue")
        if text and not text.endswith("\n"):
            tree.report(path, text.count("\n") + 1, "last-line", "no newline at the end")


def check_sizes(tree):
    for path in tree.code:
        lines = tree.text[path].count("\n")
        is_test = allowed(path, rules.TEST_CODE)
        limit = rules.TEST_LINES_MAX if is_test else rules.LINES_MAX
        if lines > limit and path not in rules.SIZE_EXCEPTIONS:
            tree.report(path, lines, "file-size", f"{lines} lines > {limit}: split it by concept")
        if path not in rules.FUNCTION_EXCEPTIONS:
            check_functions(tree, path)


def check_functions(tree, path):
    """A definition as clang-format writes it: its braces stand in the column of its first line."""
    lines = tree.code[path].split("\n")
    opened = {}
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if line.startswith("}", indent) and indent in opened:
            first = opened.pop(indent)
            if number - first + 1 > rules.FUNCTION_LINES_MAX:
                tree.report(path, first, "function-size",
                            f"{number - first + 1} lines > {rules.FUNCTION_LINES_MAX}")
        if indent in (0, 2) and re.search(r"\)[^;]*\{$", line) and not line.strip().startswith(
                ("namespace", "class", "struct", "enum", "extern", "}", ":", ".")):
            if indent == 0 or 0 not in opened:
                opened[indent] = number


def check_headers(tree):
    for path in tree.code:
        if path.endswith(".h"):
            first = re.search(r"^[ ]*#[^\n]*", tree.code[path], re.MULTILINE)
            if not first or first.group(0).strip() != "#pragma once":
                tree.report(path, 1, "pragma-once", "the first directive of a header")
            if not tree.text[path].startswith("//"):
                tree.report(path, 1, "header-comment", "what it owns, promises, requires")
        own = path[:-4] + ".h"
        if path.endswith(".cpp") and own in tree.code:
            if not tree.includes[path] or tree.includes[path][0][1] != own:
                tree.report(path, 1, "own-header", f"include {own} first: it must compile alone")


def check_cmake(tree):
    for path in tree.code:
        if path.endswith(".cpp") and path not in tree.listed:
            tree.report(path, 1, "not-built", "no CMakeLists.txt lists it")
    for path in sorted(tree.listed):
        if "$" not in path and path not in tree.code:
            tree.report(os.path.join(os.path.dirname(path), "CMakeLists.txt"), 1, "not-there",
                        f"lists {path}")
    for path in tree.names:
        if re.fullmatch(rules.STRAY, os.path.basename(path)):
            tree.report(path, 1, "stray", "not a file of the project")


def check_includes(tree):
    for path, includes in tree.includes.items():
        layer = tree.layer(path)
        for line, target in includes:
            if target in tree.code:
                check_own_include(tree, path, layer, line, target)
            elif target.startswith("proto/"):
                if layer <= 2 and not allowed(path, rules.PURE_WITH_RECORDS):
                    tree.report(path, line, "layer", "pure code of common/ does not know protobuf")
            else:
                check_foreign_include(tree, path, layer, line, target)


def check_own_include(tree, path, layer, line, target):
    to = tree.layer(target)
    if to > layer:
        tree.report(path, line, "layer", f"layer {layer} includes {target} of layer {to}")
    here, there = path.split("/")[0], target.split("/")[0]
    if here != there and there in rules.DAEMONS and here != "tests":
        if not any(path.startswith(a) and target == b for a, b in rules.CROSS_EXCEPTIONS):
            tree.report(path, line, "daemons", f"{here} does not include {target}: meet in common")
    if there == "tests" and not allowed(path, rules.TEST_CODE):
        tree.report(path, line, "layer", "nobody includes tests")


def check_foreign_include(tree, path, layer, line, target):
    pure = layer <= 2 and path not in rules.IMPURE_EXCEPTIONS
    if pure and (target in rules.IMPURE_INCLUDES or target.startswith(rules.SYSTEM_FOLDERS)):
        tree.report(path, line, "pure", f"<{target}> in pure code (layer {layer})")
    for pattern, doors in rules.DOORS:
        if re.match(pattern, target):
            if not allowed(path, doors):
                tree.report(path, line, "door", f"<{target}> only through {', '.join(doors)}")
            return
    if "/" in target and not target.startswith(rules.SYSTEM_FOLDERS):
        tree.report(path, line, "include", f"<{target}>: not a file, and no door is known for it")


def check_bans(tree):
    for path, code in tree.code.items():
        for name, pattern, instead, where in rules.BANS:
            if allowed(path, where):
                continue
            for match in re.finditer(pattern, code):
                tree.report(path, line_of(code, match.start()), name, instead)


def matching(code, start):
    """Index after the bracket that closes the one at `start`; -1 when there is none."""
    closing = {"(": ")", "[": "]", "{": "}"}[code[start]]
    opening, depth = code[start], 0
    for match in re.finditer(re.escape(opening) + "|" + re.escape(closing), code[start:]):
        depth += 1 if match.group(0) == opening else -1
        if depth == 0:
            return start + match.end()
    return -1


def lambdas(code):
    """(index, capture, body) of every lambda expression."""
    before = r"(?:^|[(,={;&|?:!]|\breturn|\bco_return|\bco_await)"
    for match in re.finditer(before + r"\s*(\[)(?!\[)", code):
        start = match.start(1)
        end = matching(code, start)
        if end < 0:
            continue
        at = end
        while at < len(code) and code[at] in " \n":
            at += 1
        if at < len(code) and code[at] == "(":
            at = matching(code, at)
        brace = code.find("{", at) if at > 0 else -1
        head = code[at:brace] if brace > 0 else ""
        if brace < 0 or not re.fullmatch(r"[\s\w:<>,*&\->]*", head):
            continue
        close = matching(code, brace)
        yield start, code[start + 1:end - 1].strip(), code[brace:close]


def without_lambdas(body):
    """The body with the bodies of the lambdas in it blanked."""
    for start, _, inner in lambdas(body):
        at = body.find(inner, start)
        body = body[:at] + re.sub(r"[^\n]", " ", inner) + body[at + len(inner):]
    return body


def around_waits(statement):
    """Without what is fine: `while (a && b) co_await c` and `co_await f(a && b)`."""
    statement = after_condition(statement)
    for match in reversed(list(re.finditer(r"\bco_await\s+[\w.:>*\-]*(\()", statement))):
        end = matching(statement, match.start(1))
        if end > 0 and "co_await" not in statement[match.start(1):end]:
            statement = statement[:match.start(1)] + statement[end:]
    return statement


def after_condition(statement):
    match = re.match(r"\s*(?:else\s+)?(?:if|while|for)\s*(?:constexpr\s*)?(\()", statement)
    end = matching(statement, match.start(1)) if match else -1
    return statement[end:] if 0 < end <= statement.index("co_await") else statement


def check_coroutines(tree):
    for path, code in tree.code.items():
        code = re.sub(r"^[ ]*#[^\n]*", "", code, flags=re.MULTILINE)
        for start, capture, body in lambdas(code):
            waits = re.search(r"\bco_(?:await|return|yield)\b|\bCO_TRY", without_lambdas(body[1:]))
            if capture and waits:
                tree.report(path, line_of(code, start), "lambda-coroutine",
                            "captures die with the lambda: use a function and pass pointers")
        for match in re.finditer(r"[^;{}]+", code):
            statement = match.group(0)
            if "co_await" not in statement:
                continue
            if re.search(r"\s(?:&&|\|\||\?)\s", around_waits(statement)):
                at = match.start() + statement.index("co_await")
                tree.report(path, line_of(code, at), "co_await-condition",
                            "g++ 12 destroys temporaries twice here: name the value first")
        for match in re.finditer(r"\bcatch\s*\([^)]*\)\s*(\{)", code):
            end = matching(code, match.start(1))
            if "co_await" in code[match.start(1):end]:
                tree.report(path, line_of(code, match.start()), "co_await-catch",
                            "not in a handler")
        check_coroutine_parameters(tree, path, code)


def check_coroutine_parameters(tree, path, code):
    for match in re.finditer(r"\bTask<[^;={}()]*>\s+[\w:]+(\()", code):
        end = matching(code, match.start(1))
        body = re.match(r"[\sconverideal]*(\{)", code[end:]) if end > 0 else None
        if not body:
            continue
        inside = code[end + body.start(1):matching(code, end + body.start(1))]
        if not re.search(r"\bco_(?:await|return)\b|\bCO_TRY", without_lambdas(inside[1:])):
            continue
        parameters = re.sub(r"<[^<>]*>", "", code[match.start(1):end])
        # A plain reference cannot bind a temporary: services that outlive the task are passed so.
        if re.search(r"\bconst\s+[\w:]+\s*&|&&", parameters):
            tree.report(path, line_of(code, match.start()), "coroutine-reference",
                        "parameters by value or pointer: a reference may die at the suspension")


CHECKS = [check_text, check_sizes, check_headers, check_cmake, check_includes, check_bans,
          check_coroutines]


def findings(root):
    tree = Tree(root)
    for check in CHECKS:
        check(tree)
    return sorted(set(tree.findings))


def check_format(root):
    files = sorted(Tree(root).code)
    bad = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=root,
                         capture_output=True, text=True, check=False)
    print("\n".join(l for l in bad.stderr.split("\n") if "error:" in l))
    return bad.returncode


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default=os.path.normpath(os.path.join(here, "..", "..")))
    parser.add_argument("--format", action="store_true")
    parser.add_argument("--list-layers", action="store_true")
    options = parser.parse_args()
    if options.format:
        return check_format(options.root)
    if options.list_layers:
        tree = Tree(options.root)
        for path in sorted(tree.code):
            print(tree.layer(path), path)
        return 0
    found = findings(options.root)
    for path, line, rule, text in found:
        print(f"{path}:{line}: {rule}: {text}")
    print(f"tidy: {len(found)} findings", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
