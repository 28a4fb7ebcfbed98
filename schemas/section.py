"""What all config sections have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """Base of all config sections: frozen, strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def section_keys(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section as a config file has them: a key that is a word of Python is another name's alias."""
    return {field.alias or name: field for name, field in section.model_fields.items()}
