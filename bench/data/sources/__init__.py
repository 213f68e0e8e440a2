"""Read documents: each module defines sources, `class Hub(Source, name="hub")`."""
