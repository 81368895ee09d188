"""dbsync.toml: find it, read it, and say everything that is wrong with it at once.

Read from the outside in: ``discover`` finds the file, ``load`` reads it into ``models``, and ``explain`` shows an
:class:`~dbsync.config.problems.InvalidConfig` to a person. The rest is how: ``locate`` gives lines and columns,
``expand`` fills in ``${NAME}``, ``wording`` puts pydantic's findings into words, ``consistency`` looks for entries
that contradict each other, ``advice`` for what works but is unwise. Only ``discover`` and ``load`` touch files.
"""
