"""How large a perspective may be. Checked before anything expensive: an inline perspective is a stranger's."""

MAX_BYTES = 131_072
"""Text of a whole perspective, in bytes of UTF-8 (the largest shipped one has 10 kB)."""

MAX_VALUES = 20_000
"""Values (objects, lists, texts, numbers …) in a whole perspective."""

MAX_JSON_DEPTH = 200
"""Levels of objects and lists in a perspective's JSON; a level of its answer takes up to three."""

MAX_DEPTH = 80
"""Levels of objects and lists in an answer (JSON parsers of model servers and our own stop near 200)."""

MAX_NODES = 2_000
"""Places in a schema, counted after every `$ref` has been put in its place."""

MAX_FIELDS = 1_000
"""Properties in a schema, at all levels together."""

MAX_NAME = 200
"""Characters in the name of a property."""

MAX_ENUM = 1_000
"""Values in all `enum`s of a schema together (OpenAI's strict mode takes as many)."""

MAX_BRANCHES = 16
"""Alternatives in one `anyOf`."""

MAX_UNIONS = 4
"""`anyOf`s inside each other."""

MAX_PATTERN = 500
"""Characters in a `pattern`."""

MAX_PATTERN_COST = 15_000
"""Estimated cost of all `pattern`s of a schema, see perspectives.patterns (10,000 is about 30 ms to compile)."""

MAX_LEAST = 100_000
"""Values and characters that the schema demands of even the smallest answer (`minItems`, `minLength`)."""

MAX_PROBLEMS = 20
"""Problems that are told at once."""

MAX_ITEMS = 10_000
"""Items in one list of an answer, whatever its schema allows."""

MAX_MISTAKES = 20_000
"""Values of an answer times places in its schema, up to which every mistake in it is looked for."""

MAX_TRIES = 100_000
"""Alternatives of `anyOf` that are tried for one answer, each counted by what it has to look at (2 µs a count)."""

MAX_RENDERED = 1_000_000
"""Characters of a rendered caption."""

MAX_PLACEHOLDERS = 100
"""Placeholders in a prompt or context template: each is replaced by a text of any length."""
