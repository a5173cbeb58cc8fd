"""Limits of the language: what an expression and its facts may cost and contain."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CORE = "python/src/pgrules/cel"
LIMITS = "tests/unit/cel/test_limits.py"
FACTS = "tests/unit/cel/test_facts.py"

MUTATIONS = (
    Mutation(
        name="expressions-of-any-length",
        path=f"{CORE}/parser.py",
        text="    if len(text) > limits.expression_length:",
        replacement="    if not limits.expression_length:",
        danger="A megabyte of text is parsed for seconds and kept in every session.",
        caught_by=(
            f"{LIMITS}::TestSize::test_the_length_is_bounded",
            "tests/pgtap/compile_rules.sql::COMP-2: refused with RE021: too long",
        ),
    ),
    Mutation(
        name="expressions-of-any-depth",
        path=f"{CORE}/parser.py",
        text="            if depth > self.limits.nesting:",
        replacement="            if not self.limits.nesting:",
        danger="A deep tree runs a recursion of Python's to its end in the backend.",
        caught_by=(f"{LIMITS}::TestSize::test_nesting_is_bounded",),
    ),
    Mutation(
        name="evaluations-of-any-cost",
        path=f"{CORE}/evaluation.py",
        text="        if self.cost > self.limit:\n            raise CostLimit",
        replacement="        if not self.limit:\n            raise CostLimit",
        danger="Loops within loops keep a backend busy for years.",
        caught_by=(f"{LIMITS}::TestCost::test_the_limit_is_the_environments",),
    ),
    Mutation(
        name="rules-of-any-estimate",
        path=f"{CORE}/estimate.py",
        text="    if found.cost <= limits.cost:",
        replacement="    if found.cost:",
        danger="A rule is stored that ends at the limit with every larger fact.",
        caught_by=(
            (
                "tests/unit/cel/test_estimate.py::TestRefusals"
                "::test_what_can_cost_too_much_is_refused_at_the_part_that_grows"
            ),
            (
                "tests/pgtap/compile_rules.sql::A rule that can cost more than the"
                " limit is refused"
            ),
        ),
    ),
    Mutation(
        name="sizes-charged-too-late",
        path=f"{CORE}/ext_lists.py",
        text="    state.charge(size)\n    return list(range(size))",
        replacement="    made = list(range(size))\n"
        "    state.charge(size)\n    return made",
        danger="The memory of the server is used up before the limit is looked at.",
        caught_by=(
            (
                "tests/unit/cel/test_lists.py::TestCost"
                "::test_a_list_that_grows_ends_at_the_limit"
            ),
        ),
    ),
    Mutation(
        name="evaluations-not-interrupted",
        path=f"{CORE}/evaluation.py",
        text="        if self.interrupted is not None and self.interrupted():\n"
        "            raise Interrupted\n",
        replacement="",
        danger="statement_timeout and cancel requests wait for Python to return.",
        caught_by=(
            f"{LIMITS}::TestCost::test_an_evaluation_that_is_told_to_stop_stops",
        ),
    ),
    Mutation(
        name="cancel-requests-not-seen",
        path=f"{CORE}/interruption.py",
        text="    return lambda: bool(query.value or process.value)",
        replacement="    return lambda: bool(process.value)",
        danger="An operator's cancel and every timeout come to nothing.",
        caught_by=(
            (
                "tests/unit/cel/test_interruption.py"
                "::test_either_flag_of_the_server_is_a_wish_to_stop"
            ),
        ),
    ),
    Mutation(
        name="terminations-not-seen",
        path=f"{CORE}/interruption.py",
        text="    return lambda: bool(query.value or process.value)",
        replacement="    return lambda: bool(query.value)",
        danger="A shutdown waits for whoever is evaluating.",
        caught_by=(
            (
                "tests/unit/cel/test_interruption.py"
                "::test_either_flag_of_the_server_is_a_wish_to_stop"
            ),
        ),
    ),
    Mutation(
        name="compiling-not-interrupted",
        path=f"{CORE}/interruption.py",
        text="    if interrupted is not None and interrupted():\n"
        "        raise Interrupted",
        replacement="    if interrupted is None:\n        return",
        danger="Thousands of rules are compiled to the end after a cancel request.",
        caught_by=(
            (
                "tests/unit/cel/test_interruption.py"
                "::test_large_facts_are_decoded_for_nothing_when_the_server_stops"
            ),
        ),
    ),
    Mutation(
        name="patterns-by-python",
        path=f"{CORE}/regex.py",
        text="    return compile_pattern(pattern).search(text) is not None",
        replacement="    import re\n\n    return re.search(pattern, text) is not None",
        danger="A pattern of nine characters hangs a backend for years.",
        caught_by=(
            f"{LIMITS}::TestPatterns::test_a_pattern_that_re2_refuses_is_an_error",
        ),
    ),
    Mutation(
        name="patterns-of-any-length",
        path=f"{CORE}/regex.py",
        text="        if len(pattern) > MAX_PATTERN_LENGTH:",
        replacement="        if not pattern:",
        danger="Compiling patterns takes time and memory that nothing charges.",
        caught_by=(
            f"{LIMITS}::TestPatterns::test_a_pattern_that_re2_refuses_is_an_error",
        ),
    ),
    Mutation(
        name="facts-of-any-depth",
        path=f"{CORE}/facts.py",
        text='        elif len(text) > limits.depth and outline.count(b"{")'
        " > limits.depth:",
        replacement="        elif not limits.depth:",
        danger="jsonb holds 6,000 levels, which no recursion of Python's can follow.",
        caught_by=(f"{FACTS}::TestParsing::test_nesting_is_bounded",),
    ),
    Mutation(
        name="facts-of-any-size",
        path=f"{CORE}/facts.py",
        text="    if len(text) > limits.size:\n"
        "        raise _refused([], _too_large(limits))\n"
        "    try:\n",
        replacement="    try:\n",
        danger="Facts of 256 MB become gigabytes of Python objects.",
        caught_by=(f"{FACTS}::TestParsing::test_size_is_bounded",),
    ),
    Mutation(
        name="integers-of-any-size",
        path=f"{CORE}/facts.py",
        text='_LONG_NUMBER = b"0" * 19',
        replacement='_LONG_NUMBER = b"0" * 40',
        danger="Numbers of Python's, which never overflow, decide as CEL's never do.",
        caught_by=(
            (
                f"{FACTS}::TestParsing"
                "::test_an_integer_outside_64_bits_is_refused_with_its_path"
            ),
        ),
    ),
    Mutation(
        name="batches-of-any-depth",
        path=f"{CORE}/facts.py",
        text='    if any(text.count("{") + text.count("[") > limits.depth'
        " for text in texts):\n        return None\n",
        replacement="",
        danger="What one call refuses, many facts in one call bring in.",
        caught_by=(f"{FACTS}::test_many_facts_are_decoded_as_each_is",),
    ),
    Mutation(
        name="results-of-any-size",
        path=f"{CORE}/facts.py",
        text="    left -= len(text)\n    if left < 0:",
        replacement="    left -= len(text)\n    if not pieces:",
        danger="A list that contains itself many times over is gigabytes of text.",
        caught_by=(
            (
                "tests/unit/cel/test_fuzz.py::TestGrowth"
                "::test_a_result_as_large_as_allowed_is_given"
            ),
        ),
    ),
    Mutation(
        name="errors-of-any-length",
        path=f"{CORE}/source.py",
        text="    if len(line) > _EXCERPT_WIDTH:",
        replacement="    if not line:",
        danger="An error carries the whole text to the client and into every log.",
        caught_by=(
            "tests/unit/cel/test_parser.py::test_a_long_line_is_cut_around_the_place",
        ),
    ),
    Mutation(
        name="derived-fields-of-any-cost",
        path=f"{CORE}/activation.py",
        text="            self._left -= state.cost\n",
        replacement="            pass\n",
        danger="A thousand fields of a million units each are read by one rule.",
        caught_by=(
            (
                "tests/unit/cel/test_activation.py::TestDerivedFields"
                "::test_share_one_cost_limit"
            ),
        ),
    ),
    Mutation(
        name="programs-kept-without-end",
        path=f"{CORE}/cache.py",
        text="        while self.nodes > self.capacity and len(self._entries) > 1:",
        replacement="        while not self.capacity:",
        danger="A session's memory grows with every expression that it has seen.",
        caught_by=(
            (
                "tests/unit/cel/test_activation.py::TestCaches"
                "::test_programs_unused_for_longest_go_first"
            ),
        ),
    ),
    Mutation(
        name="programs-kept-by-text-alone",
        path=f"{CORE}/cache.py",
        text="        key = (text, digest)",
        replacement='        key = (text, "")',
        danger="A rule is evaluated as another tenant's schema would have it.",
        caught_by=(
            (
                "tests/unit/cel/test_activation.py::TestCaches"
                "::test_the_same_text_in_another_environment_is_another_program"
            ),
        ),
    ),
    Mutation(
        name="rule-sets-kept-for-any-environment",
        path=f"{CORE}/cache.py",
        text="        rules = self._entries.get((key, document))",
        replacement="        rules = next(\n"
        "            (kept for (name, _), kept in self._entries.items() if name =="
        " key), None\n"
        "        )",
        danger="Rules go on as the schema was before it changed.",
        caught_by=(
            (
                "tests/unit/cel/test_rule_set.py::TestCache"
                "::test_a_set_is_found_by_its_key_and_its_environment"
            ),
        ),
    ),
)
