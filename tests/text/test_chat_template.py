# SPDX-License-Identifier: Apache-2.0
"""Braid's chat templates against PyPI's jinja2, set up as transformers does, on templates in the formats of well-known
models and on generated ones."""

import datetime
import json
import os
import pathlib
import subprocess

import pytest

pytest.importorskip("jinja2", reason="jinja2 comes with LibTorch's wheel")

from chat_templates import CALL, CONVERSATIONS, SYSTEM, TEMPLATES, TOKENS, TOOLS, TURNS, reference  # noqa: E402
from template_generator import TemplateGenerator  # noqa: E402

PROBE = pathlib.Path(os.environ.get("BRAID_BUILD", "build")) / "tests" / "chat_template_probe"
pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")


def answers(requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([PROBE], input=lines, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(cases):
    """Where Braid and jinja2 do not say the same; refusals are compared as refusals."""
    found = []
    for (template, variables), answer in zip(cases, answers([{"template": t, "variables": v} for t, v in cases]), strict=True):
        text, problem = reference(template, variables)
        if answer.get("text") != text:
            found.append((template, variables.get("messages"), text, problem, answer))
        elif text is None:
            assert answer["code"] == 2 and answer["error"].startswith("template") and "\n" not in answer["error"]
    return found


def chats():
    for messages in CONVERSATIONS.values():
        for generation in (False, True):
            for tools in (None, TOOLS):
                yield {"messages": messages, "add_generation_prompt": generation, "tools": tools, **TOKENS}


@pytest.mark.parametrize("name", TEMPLATES)
def test_formats_of_well_known_models_equal_jinja2(name):
    cases = [(TEMPLATES[name], chat) for chat in chats()]
    assert differences(cases) == []
    assert sum(reference(*case)[0] is not None for case in cases) >= 4  # not all of them refusals


@pytest.mark.parametrize("name", TEMPLATES)
def test_formats_of_well_known_models_equal_transformers(name):
    utilities = pytest.importorskip("transformers.utils.chat_template_utils", reason="transformers is not installed")
    cases = []
    for chat in chats():
        try:
            expected = utilities._compile_jinja_template(TEMPLATES[name]).render(**chat)
        except Exception:
            continue
        cases.append((chat, expected))
    got = answers([{"template": TEMPLATES[name], "variables": chat} for chat, _ in cases])
    assert [answer.get("text") for answer in got] == [expected for _, expected in cases] and cases


EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2 | -7 // 2 | -7 % 3 | 7.5 // 2 | -7.5 % 2 | 2 ** 10 | 2 ** -1 | 1e3 | 1_000 + 0x1f + 0b11 + 0o17 | 0.1 + 0.2 | 1e16 | 1e-5 | 123456789.125
'a' ~ 1 ~ none ~ true ~ 1.0 | 'ab' * 3 | [1, 'x', none, true, 2.5, "it's"] | {'a': 1, 2: [3], 'n': none} | (1,) | (1, 2) | () | [] | {}
'abc'[1] | 'abc'[-1] | 'abc'[::-1] | 'héllo🎉'[1:5:2] | [1, 2, 3][-2:] | [1, 2, 3][5] | messages[0].role | messages[0]['nothing'] | messages[0].nothing
messages[-1]['content'][:4] | x is defined | x is not defined | x | x ~ 'a' | not x | x or 'y' | x and 'y' | '' or [] or 0 | 1 < 2 < 3 | 3 > 2 > 2 | 1 == 1.0 | true == 1
'a' in 'cab' | 'role' in messages[0] | 2 not in [1, 2] | 'b' < 'a' | [1, 2] < [1, 3] | none is none | 'a' is string | 1 is number | true is boolean | true is number
1 is integer | 1.5 is float | messages is iterable | messages is sequence | messages[0] is mapping | 'x' is iterable | 3 is odd | 4 is even | 9 is divisibleby 3 | 1 is eq 1
1 is equalto(1) | 'a' is in ['a'] | x is undefined | true is sameas true | none is sameas none | 1 is sameas true | range is callable | 'abc' is lower | 'ABC' is upper
'  a b '.strip() | 'xxaxx'.strip('x') | 'xay'.lstrip('x').rstrip('y') | 'a,b,,c'.split(',') | ' a  b c '.split() | 'a b c d'.split(' ', 2) | ' a  b  c '.split(none, 1)
'a,b,c'.rsplit(',', 1) | 'abc'.startswith('ab') | 'abc'.endswith(('x', 'bc')) | 'aXb'.upper() | 'aXb'.lower() | 'hello wORLD-x'.title() | 'hELLO'.capitalize()
'aaa'.replace('a', 'b', 2) | 'abc'.replace('', '-') | ', '.join(['a', 'b']) | 'abcabc'.find('c') | 'abc'.find('x') | 'abcabc'.rfind('c') | 'banana'.count('an') | 'a\nb\r\nc\n'.splitlines()
'abc'.removeprefix('a').removesuffix('c') | '123'.isdigit() | 'ab1'.isalnum() | {'a': 1}.items() | {'a': 1}.keys() | {'a': 1}.values() | {'a': 1}.get('a') | {'a': 1}.get('b') | {'a': 1}.get('b', 7)
{'items': 5}.items()|list | {'items': 5}['items'] | [3, 1, 2]|sort | [3, 1, 2]|sort(reverse=true) | ['b', 'A', 'c']|sort | ['b', 'A', 'c']|sort(case_sensitive=true) | messages|map(attribute='role')|list
messages|map(attribute='role')|join(', ') | messages|selectattr('role', 'equalto', 'user')|list|length | messages|rejectattr('role', 'eq', 'user')|map(attribute='role')|list
messages|selectattr('tool_calls', 'defined')|list|length | messages|selectattr('content')|list|count | [1, 2, 3, 4]|select('odd')|list | [1, 2, 3]|reject('gt', 1)|list | ['a', 'b']|map('upper')|join
[1, 2, 3]|sum | [{'v': 2}, {'v': 3}]|sum(attribute='v') | [3, 1]|min | [3, 1]|max | []|min | [1, 1, 2]|unique|list | [1, 2]|first | []|first | [1, 2]|last | 'abc'|reverse | [1, 2]|reverse|list
'abc'|length | messages|length | x|length | {'a': 1}|length | x|default('d') | ''|default('d') | ''|default('d', true) | none|default('d') | x|d | '  a '|trim | 'xax'|trim('x')
'Ab'|upper | 'Ab'|lower | 'hello wORLD-x (y'|title | 'hELLO'|capitalize | 'a-b'|replace('-', '+') | 1|string + 'a' | '12'|int + 1 | 'x'|int | 'x'|int(7) | ' 3.9 '|int | 3.9|int | '1.5'|float | 'x'|float
true|int | 2.5|round | 3.14159|round(2) | 2.5|round(0, 'floor') | 2.1|round(method='ceil') | 5|round | -3|abs | 'a\nb\n\nc'|indent | 'a\nb'|indent(2, true) | 'abc'|list | {'b': 1, 'a': 2}|dictsort
{'b': 1, 'a': 2}|dictsort(by='value') | {'a': 1}|items|list | messages|tojson | messages|tojson(indent=2) | {'b': 1, 'a': [1, {}]}|tojson(sort_keys=true) | {'a': 1, 'b': 2}|tojson(separators=(',', ':'))
'é🎉\u007f\u0001"\\'|tojson | 'é🎉\u007f'|tojson(ensure_ascii=true) | [1.0, 1e20, true, none]|tojson | ()|tojson | [[], {}]|tojson(indent=1) | x|tojson | range(3)|list | range(1, 10, 3)|list | range(5, 0, -2)|join('-')
dict(a=1, b='x') | dict({'a': 1}, b=2) | namespace(a=1).a | namespace(a=1).b | 'a' if true else 'b' | 'a' if false | ('a' if x else 'b') ~ 'c' | -2|abs | 'a' 'b' "c" | "\x41\u00e9\t|\\n\'" | '\d'
[1, 2, 3]|map('string')|map('length')|list | 'a'.b | none.x | x[:1] | messages[0][:1] | messages[0].content[x:] | 3|indent | 'abc'.upper is callable | 1[0] | messages|first|items|first|list | [[1, 2], [3]]|map('first')|list | [1, [2, [3]]] == [1, [2, [3]]] | {'a': 1} == {'a': 1.0}
'a' + 1 | x + 1 | x.y | x['y'] | none + none | messages.x.y | messages() | x() | 'abc'|nofilter | 1 is notest | 1 / 0 | 1 % 0 | 'a' < 1 | none < none | [1]|map('nofilter')|list | none|length | 1 in 1 | x|int | {[1]: 2}
[1, 2][::0] | 'abc'.index('x') | ''.join([1]) | range(200000)|length | {'a': 1}|tojson(indent='\t') | raise_exception('no') | 'abc'|join('-') | 'abc'|last | {'a': 1, 'b': 2}|last | {'a': 1}|first | '%s' | 10 % 4 * 2 | 2 * 3 ** 2 | -2 ** 2
'  \u00a0\u3000x\u2003'|trim | '\u200bx'|trim | 'a\u2028b\x0cc'.split() | ['é', '\u00ad', '\x7f', "'", '"', '\'"'] | 1 if 2 if 0 else 3 else 4 | not 1 == 2 | 1 is defined and x is not defined | messages[0]|length > 1 | [1, 2, 3]|length - 1 | 1 .__class__ | ''.__class__ | messages.append(1)
messages[1:]|map(attribute='content')|list | (messages|last).role | messages|map('length')|list | [true, false]|select|list | [0, 1]|reject|list | ['b', 'a']|sort|first | [{'a': 'x'}]|map(attribute='b', default='z')|list | [{'a': {'b': [5]}}]|map(attribute='a.b.0')|list
"""


def expressions():
    for line in EXPRESSIONS.strip().splitlines():
        yield from (part.strip() for part in line.split(" | "))


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_expressions_equal_jinja2():
    variables = {"messages": SYSTEM + TURNS + CALL[1:3], **TOKENS}
    cases = [("{{ " + expression + " }}", variables) for expression in expressions()]
    assert len(cases) > 200 and differences(cases) == []


STATEMENTS = [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }};{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem else '-' }}>{{ loop.nextitem.role if not loop.last }} {% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }} {{ m.content }}{% else %}none{% endfor %}",
    "{% for m in [] %}x{% else %}empty{% endfor %}{% for m in nothing %}x{% else %}undefined{% endfor %}",
    "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in [1] %}{% continue %}{% else %}all passes were cut short{% endfor %}{% for i in [1, 2] %}{% if i == 2 %}{% break %}{% endif %}{% else %}no{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }}{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}",
    "{% for c in 'añb' %}{{ c }}.{% endfor %}{% for k in {'x': 1} %}{{ k }}{% endfor %}",
    "{% for x in 3 %}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{% set ns.m = 'new' %}{{ ns.m }}",
    "{% set d = {} %}{% set d.x = 1 %}",
    "{% set a, b = 1, [2, 3] %}{{ a }}{{ b }}{% set t = 1, %}{{ t }}",
    "{% set block %} captured {{ 1 + 1 }} {% set inner = 5 %}{% endset %}[{{ block }}]{{ inner is defined }}",
    "{% set block | upper | trim %} captured {% endset %}[{{ block }}]",
    "{% filter upper %}abc {{ 'x' }}{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% set c = 3 %}{% endwith %}{{ a is defined }}{{ c is defined }}",
    "{% if false %}a{% elif none %}b{% elif [0] %}c{% else %}d{% endif %}",
    "{% if true %}{% set y = 1 %}{% endif %}{{ y }}{% if false %}{% set z = 1 %}{% endif %}{{ z is defined }}",
    "{% macro f(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, c=5) }} {{ f('x', 'y', 'z')|upper }} {{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(q=2) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %},{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro f() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ f() }}{% set x = 2 %}{{ f() }}",
    "{% for i in [1, 2] %}{% macro g() %}{{ i }}{{ loop.index }}{% endmacro %}{{ g() }}{% endfor %}{{ g is defined }}",
    "{% macro f(m) %}{% for c in m.content %}{% if loop.index > 2 %}{% break %}{% endif %}{{ c }}{% endfor %}{% endmacro %}{% for m in messages %}{{ f(m) }}|{% endfor %}",
    "{% raw %} {{ not }} {% this %} {% endraw %}\n{%- raw -%} {{ x }} {%- endraw -%} y",
    "a {# comment {{ x }} #} b\n  {# alone #}\nc {#- left -#} d",
    "line\n    {% if true %}\n  kept\n    {% endif %}\nend\n",
    "  {%+ if true %} x {%+ endif +%}\n y {%- if true -%} \n z {%- endif %}\n",
    "  {{ 1 }}\n  {{- 2 }}\n  {{ 3 -}}\n  4\n\n",
    "{% for i in [1,2] -%}\n   {{ i }}\n {%- endfor %}\r\nlast\r",
    "{% for m in messages %}{{ bos_token }}{% endfor %}{% set bos_token = 'later' %}{{ bos_token }}",
    "{% if add_generation_prompt %}{% set eos_token = 'E' %}{% endif %}{{ eos_token }}",
    "{% for i in [1] %}{% if false %}{% set eos_token = 2 %}{% endif %}{{ eos_token }}{% endfor %}",
    "{% macro f() %}[{{ eos_token }}]{% endmacro %}{{ f() }}{% set eos_token = 1 %}{{ f() }}",
    "{% for i in [1, 2] %}{% for j in [1] %}{{ eos_token }}{% endfor %}{% set eos_token = i %}{% endfor %}{{ eos_token }}",
    "{% if add_generation_prompt %}{% set messages = [] %}{% elif x %}{% set y = 1 %}{% else %}{% set y = 2 %}{% endif %}{{ y }}{{ messages|length }}{% set y = 3 %}",
    "{% if x %}{{ bos_token }}{% endif %}{% set bos_token = 1 %}{% macro f(bos_token) %}{{ bos_token }}{{ eos_token }}{% set eos_token = 2 %}{% endmacro %}{{ f() }}{{ f(3) }}",
    "{% set x %}{{ eos_token }}{% set eos_token = 1 %}{% endset %}{{ x }}{% with eos_token = 2 %}{{ eos_token }}{% endwith %}{{ eos_token }}",
    "{% set range = 5 %}{{ range }}{% for range in range(2) %}{{ range }}{% endfor %}",
    "{% for i in range(2) %}{{ range is defined }}{% set range = 5 %}{% endfor %}{{ loop is defined }}{% for j in [1] %}{{ loop.index }}{% endfor %}",
    "{% set g = [1, 2, 3]|map('string') %}{{ g|first }}{{ g|join }}{{ g|list|length }}{{ 'true' if g }}",
    "{% set r = [1, 2, 3]|reverse %}{{ r|list }}{{ r|list }}",
    "{% print 1, 'a' %}",
    "{% break %}",
    "{% for i in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for i in [1] %}",
    "{% endif %}",
    "{% unknown %}",
    "{{ 1 ",
    "{{ (1 }}",
    "{{ 'a }}",
    "{{ 1 2 }}",
    "{{ }}",
    "{{ a..b }}",
    "{% set 1 = 2 %}",
    "{% if %}{% endif %}",
    "{# open",
    "{% raw %}open",
    "{{ {'a' 1} }}",
    "{{ f(a=1, 2) }}",
    "{{ 1 is defined is defined }}",
    "{% macro f(a=1, b) %}{% endmacro %}",
    "{{ [1, 2,] }}{{ {'a': 1,} }}{{ (1, 2,) }}",
    "{{ {'a': {'b': 1}}.a.b }}{{ [[1, 2]][0][1] }}{{ [1, 2].0 }}{{ {'}}': 1} }}{{ '%}' }}",
    "{%- set loop_messages = messages[1:] if messages[0].role == 'system' else messages -%}{{ loop_messages|length }}",
    "{{- '' -}}\n\n x \n\n{{- '' -}}",
]


def test_statements_equal_jinja2():
    cases = [(statement, {"messages": messages, "add_generation_prompt": True, **TOKENS}) for statement in STATEMENTS for messages in (SYSTEM + TURNS, CALL[:1])]
    assert differences(cases) == []


@pytest.mark.parametrize("seed", range(4))
def test_generated_templates_equal_jinja2(seed):
    generator = TemplateGenerator(seed)
    cases = []
    for _ in range(150):
        template = generator.template()
        cases += [(template, {"messages": generator.messages(), "add_generation_prompt": generator.coin(), "tools": generator.pick([None, TOOLS]), **TOKENS}) for _ in range(4)]
    found = differences(cases)
    assert found == [], f"{len(found)} of {len(cases)}"
    rendered = sum(reference(*case)[0] is not None for case in cases)
    assert rendered > len(cases) / 2, rendered  # refusals on both sides say little


def test_today_equals_python():
    template = "{{ strftime_now('%Y-%m-%d %A %d %b') }}"
    for _ in range(2):  # midnight may pass once
        before = datetime.datetime.now().strftime("%Y-%m-%d %A %d %b")
        got = answers([{"template": template, "variables": {}}])[0]["text"]
        if got == before:
            return
    assert got == before


def test_named_formats_give_the_published_texts():
    chat = [{"role": "user", "content": "Hi "}, {"role": "assistant", "content": "Yo"}]
    expected = {
        "chatml": ("<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n", "<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\n"),
        "zephyr": ("<|user|>\nHi </s>\n<|assistant|>\nYo</s>\n", "<|user|>\nHi </s>\n<|assistant|>\n"),
        "llama3": (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYo<|eot_id|>",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        "alpaca": ("### Instruction:\nHi \n\n### Response:\nYo", "### Instruction:\nHi \n\n### Response:\n"),
        "raw": ("Hi Yo", "Hi "),
    }
    for name, (whole, prompt) in expected.items():
        got = answers([{"format": name, "messages": chat, "add_generation_prompt": False}, {"format": name, "messages": chat[:1], "add_generation_prompt": True}])
        assert [answer["text"] for answer in got] == [whole, prompt], name
        assert whole.startswith(prompt) or name == "raw"


def test_a_models_folder_is_read_in_each_of_its_forms(tmp_path):
    chat = {"messages": TURNS, "add_generation_prompt": True}
    template = TEMPLATES["zephyr"]
    expected = reference(template, {**chat, "eos_token": "<end>"})[0]
    tokens = {"bos_token": None, "eos_token": {"content": "<end>", "lstrip": False}, "add_bos_token": True, "model_max_length": 5}
    forms = {
        "text": tokens | {"chat_template": template},
        "named": tokens | {"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": template}]},
        "file": tokens | {"chat_template": "not this one"},
    }
    for name, config in forms.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "file" / "chat_template.jinja").write_text(template)
    got = answers([{"folder": str(tmp_path / name), **chat} for name in forms])
    assert [answer.get("text") for answer in got] == [expected] * 3


def test_a_broken_models_folder_is_named_with_its_field(tmp_path):
    config = tmp_path / "tokenizer_config.json"
    chat = {"folder": str(tmp_path), "messages": TURNS, "add_generation_prompt": True}
    for content, words in [
        (None, ["cannot be read"]),
        ("{", ["expected JSON"]),
        ("[]", ["expected an object"]),
        ("{}", ["chat_template"]),
        ('{"chat_template": 3}', ["chat_template", "default"]),
        ('{"chat_template": [{"name": "x", "template": "y"}]}', ["chat_template", "default"]),
        ('{"chat_template": "", "eos_token": 3}', ["eos_token"]),
        ('{"chat_template": "\\n{% if %}"}', ["chat_template:2:", "expected an expression"]),
    ]:
        if content is not None:
            config.write_text(content)
        answer = answers([chat])[0]
        assert answer["code"] == 2 and str(config) in answer["error"] and all(word in answer["error"] for word in words), answer
