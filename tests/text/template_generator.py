# SPDX-License-Identifier: Apache-2.0
"""Random templates from a grammar of what chat templates do, and random conversations. Most render; some raise, which
the reference has to do as well."""

import random

ROLES = ["system", "user", "assistant", "tool"]
PIECES = ["a", "B c", " ", "\n", "\t", "é", "世界", "🎉", "'", '"', "\\", "<|x|>", "{{", "%}", "#", "\u00a0", "1", "-2.5", "x,y", "</think>", "\r\n", "_"]


class TemplateGenerator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, choices):
        return self.random.choice(choices)

    def coin(self, chance=0.5):
        return self.random.random() < chance

    # Conversations.

    def text(self):
        return "".join(self.pick(PIECES) for _ in range(self.random.randrange(6)))

    def scalar(self):
        return self.pick([self.text(), self.random.randrange(-5, 1000), self.random.uniform(-1e3, 1e3), True, False, None, 10.0 ** self.random.randrange(-8, 20)])

    def message(self):
        message = {"role": self.pick(ROLES), "content": self.text()}
        if self.coin(0.2):
            arguments = {self.pick("abcd"): self.scalar() for _ in range(3)}
            message["tool_calls"] = [{"function": {"name": self.text(), "arguments": arguments}} for _ in range(self.random.randrange(3))]
        if self.coin(0.1):
            message["name"] = self.scalar()
        return message

    def messages(self):
        return [self.message() for _ in range(self.random.randrange(1, 6))]

    # Expressions by type. `m` and `loop` are there inside of a loop over messages, `i` in one over numbers.

    def literal(self):
        quote = self.pick("'\"")
        inside = self.text().replace("\\", "\\\\").replace(quote, "\\" + quote)
        return quote + (inside if self.coin() else inside.replace("\n", "\\n").replace("\t", "\\t")) + quote

    def string(self, scope, depth=3):
        if depth == 0:
            return self.pick([self.literal(), "bos_token", "eos_token"] + (["m.role", "m['content']", "m.content"] if "m" in scope else []))
        inner = lambda: self.string(scope, depth - 1)
        ascii_ = lambda: self.pick(["'aB-c d'", "'x y'", "bos_token", "'ROLE'"])
        kind = self.random.randrange(19)
        if kind < 3:
            return self.string(scope, 0)
        return [
            lambda: f"{inner()} + {inner()}",
            lambda: f"{inner()} ~ {self.number(scope, depth - 1)} ~ {inner()}",
            lambda: f"({inner()} if {self.truth(scope, depth - 1)} else {inner()})",
            lambda: f"{inner()}|trim" if self.coin() else f"({inner()}).strip({self.literal() if self.coin(0.3) else ''})",
            lambda: f"({inner()})[{self.slice(scope, depth - 1)}]",
            lambda: f"{ascii_()}|{self.pick(['upper', 'lower', 'title', 'capitalize'])}",
            lambda: f"{ascii_()}.{self.pick(['upper', 'lower', 'title', 'capitalize'])}()",
            lambda: f"({inner()}).{self.pick(['lstrip', 'rstrip'])}()",
            lambda: f"({inner()}).replace({self.literal()}, {inner()})" if self.coin() else f"{inner()}|replace({self.literal()}, {self.literal()})",
            lambda: f"{self.sequence(scope, depth - 1)}|join({self.literal()})",
            lambda: f"({inner()}).split({self.literal()})[{self.random.randrange(-2, 2)}]",
            lambda: f"{self.anything(scope, depth - 1)}|tojson" + self.pick(["", "", "(indent=2)", "(sort_keys=true)"]),
            lambda: f"{self.anything(scope, depth - 1)}|string",
            lambda: f"{self.pick(['nothing', 'm.nothing' if 'm' in scope else 'nothing', inner()])}|default({inner()}{', true' if self.coin(0.3) else ''})",
            lambda: f"{inner()}|indent({self.random.randrange(4)})",
            lambda: f"({inner()} {self.pick(['or', 'and'])} {inner()})",
        ][kind - 3]()

    def slice(self, scope, depth):
        part = lambda: self.pick(["", "", str(self.random.randrange(-4, 5))])
        return self.pick([f"{part()}:{part()}", f"{part()}:{part()}:{self.pick(['', '2', '-1', '-2'])}", "0", "-1"])

    def number(self, scope, depth=3):
        if depth == 0:
            return self.pick([str(self.random.randrange(-3, 30)), f"{self.random.randrange(100)}.{self.random.randrange(1000)}", "1e3"] + (["loop.index", "loop.index0", "loop.length"] if "loop" in scope else []) + (["i"] if "i" in scope else []))
        inner = lambda: self.number(scope, depth - 1)
        return self.pick([
            lambda: f"{inner()} {self.pick('+-*')} {inner()}",
            lambda: f"{inner()} {self.pick(['//', '%', '/'])} {self.pick([2, 3, -3, 0.5, inner()])}",
            lambda: f"({self.string(scope, depth - 1)})|length",
            lambda: f"({self.sequence(scope, depth - 1)})|length",
            lambda: f"-{inner()}",
            lambda: f"({inner()})|{self.pick(['abs', 'int', 'float', 'round', 'round(2)'])}",
            lambda: f"({self.string(scope, depth - 1)})|int",
            lambda: f"({inner()} if {self.truth(scope, depth - 1)} else {inner()})",
            lambda: f"range({self.random.randrange(6)})|sum",
        ])()

    def truth(self, scope, depth=3):
        if depth == 0:
            return self.pick(["true", "false", "add_generation_prompt", "nothing is defined", "tools is none", "tools"] + (["loop.first", "loop.last", "m.role == 'user'", "m.tool_calls is defined", "'tool_calls' in m", "m['role'] in ['user', 'tool']"] if "m" in scope and "loop" in scope else []))
        inner = lambda: self.truth(scope, depth - 1)
        return self.pick([
            lambda: f"{inner()} {self.pick(['and', 'or'])} {inner()}",
            lambda: f"not {inner()}",
            lambda: f"({inner()})",
            lambda: f"{self.number(scope, depth - 1)} {self.pick(['<', '<=', '>', '>=', '==', '!='])} {self.number(scope, depth - 1)}",
            lambda: f"{self.string(scope, depth - 1)} {self.pick(['==', '!=', '<', 'in', 'not in'])} {self.string(scope, depth - 1)}",
            lambda: f"({self.string(scope, depth - 1)}).{self.pick(['startswith', 'endswith'])}({self.literal()})",
            lambda: f"{self.anything(scope, depth - 1)} is {self.pick(['', 'not '])}{self.pick(['string', 'number', 'mapping', 'iterable', 'sequence', 'none', 'defined', 'undefined', 'boolean', 'true', 'integer', 'float'])}",
            lambda: f"({self.random.randrange(9)} is {self.pick(['odd', 'even', 'divisibleby 3', 'eq 3', 'gt(4)'])})",
        ])()

    def sequence(self, scope, depth=2):
        if depth == 0:
            return self.pick(["messages", "[1, 2, 3]", "['b', 'a', 'c']", "range(4)|list", "[]", "(1, 'x')"])
        roles = "messages|map(attribute='role')"
        return self.pick([
            lambda: self.sequence(scope, 0),
            lambda: f"({self.sequence(scope, 0)})[{self.slice(scope, depth - 1)}]",
            lambda: f"[{self.anything(scope, depth - 1)}, {self.anything(scope, depth - 1)}]",
            lambda: f"({self.string(scope, depth - 1)}).split({self.literal() if self.coin() else ''})",
            lambda: f"({roles}|{self.pick(['list', 'unique|list', 'sort', 'reverse', 'list|reverse|list'])})",
            lambda: f"(messages|{self.pick(['selectattr', 'rejectattr'])}('role', '{self.pick(['equalto', 'eq', '==', 'ne', 'in'])}', {self.literal() if self.coin(0.2) else repr(self.pick(ROLES))})|list)",
            lambda: f"([3, 1, 2]|{self.pick(['sort', 'sort(reverse=true)', 'list', 'map(' + repr('string') + ')|list', 'select(' + repr('odd') + ')|list', 'reject(' + repr('gt') + ', 1)|list'])})",
            lambda: f"({self.sequence(scope, depth - 1)}|list + [{self.anything(scope, 0)}])",
            lambda: f"({self.dictionary(scope, depth - 1)}).{self.pick(['keys', 'values', 'items'])}()|list",
        ])()

    def dictionary(self, scope, depth=1):
        pairs = ", ".join(f"{self.literal()}: {self.anything(scope, max(depth - 1, 0))}" for _ in range(self.random.randrange(3)))
        return self.pick([f"{{{pairs}}}", "dict(a=1)"] + (["m"] if "m" in scope else []))

    def anything(self, scope, depth=2):
        return self.pick([self.string, self.string, self.number, self.truth, self.sequence, self.dictionary])(scope, depth)

    # Statements.

    def tag(self, inside):
        left, right = (self.pick(["", "", "-", "-", "+"]) for _ in range(2))
        return "{%" + left + " " + inside + " " + right + "%}"

    def output(self, scope):
        left, right = (self.pick(["", "", "-"]) for _ in range(2))
        return "{{" + left + " " + self.pick([self.string, self.string, self.string, self.number, self.truth, self.anything])(scope) + " " + right + "}}"

    def data(self):
        return self.pick(["\n", "    ", "\n    ", "text", " text ", "\n\n", "\t", "{ x }", "end\n", "  \n"])

    def body(self, scope, depth):
        return "".join(self.statement(scope, depth) for _ in range(self.random.randrange(1, 4)))

    def statement(self, scope, depth):
        kind = self.random.randrange(8) if depth == 0 else self.random.randrange(16)
        if kind < 3:
            return self.data()
        if kind < 6:
            return self.output(scope)
        if kind == 6:
            return "{#" + self.pick(["", "-"]) + " note " + self.pick(["", "-"]) + "#}"
        if kind == 7:
            return self.tag(f"set v = {self.anything(scope)}") + "{{ v is defined }}"
        return self.pick([self.branch, self.branch, self.message_loop, self.message_loop, self.number_loop, self.counted, self.captured, self.macro])(scope, depth - 1)

    def branch(self, scope, depth):
        text = self.tag(f"if {self.truth(scope)}") + self.body(scope, depth)
        if self.coin(0.4):
            text += self.tag(f"elif {self.truth(scope)}") + self.body(scope, depth)
        if self.coin():
            text += self.tag("else") + self.body(scope, depth)
        return text + self.tag("endif")

    def message_loop(self, scope, depth):
        source = self.pick(["messages", "messages", "messages[1:]", "messages[::-1]", "messages if m.role != 'tool'"])
        inner = scope | {"m", "loop"}
        text = self.tag(f"for m in {source}") + self.body(inner, depth)
        if self.coin(0.2):
            text += self.tag("if loop.index > 1") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")
        if self.coin(0.2):
            text += self.tag("else") + self.body(scope, depth)
        return text + self.tag("endfor")

    def number_loop(self, scope, depth):
        return self.tag(f"for i in range({self.random.randrange(4)})") + self.body(scope | {"i", "loop"}, depth) + self.tag("endfor")

    def counted(self, scope, depth):
        return self.tag("set ns = namespace(n=0)") + self.tag("for m in messages") + self.tag("set ns.n = ns.n + loop.index") + self.body(scope | {"m", "loop"}, depth) + self.tag("endfor") + "{{ ns.n }}"

    def captured(self, scope, depth):
        return self.tag("set part") + self.body(scope, depth) + self.tag("endset") + "[{{ part }}]"

    def macro(self, scope, depth):
        return self.tag("macro show(m, loop_index=1)") + self.body(scope - {"loop", "i"} | {"m"}, depth) + self.tag("endmacro") + "{{ show(messages[0]) }}{{ show(messages[-1], loop_index=2) }}"

    def template(self):
        return self.body(frozenset(), 3)
