"""Settings of the pool from the terminal: what holds, changes, and giving them back to the environment."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict, ParseError
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import Admin, AdminError
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import settings_service_pb2 as pb

ABOUT = frozenset({"name", "changed_fields", "etag"})  # what the message says about itself
FIELDS = {field.name: field for field in pb.Settings.DESCRIPTOR.fields if field.name not in ABOUT}
YES_AND_NO = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


def list_settings(where: Where, *, as_json: bool) -> None:
    """`admin settings list`."""

    async def show(admin: Admin) -> None:
        found = await admin.settings.GetSettings(pb.GetSettingsRequest())
        if as_json:
            print_json(as_plain(found))
        else:
            console().print(settings_table(found))

    with_admin(where, show)


def change_settings(where: Where, assignments: Sequence[str]) -> None:
    """`admin settings set`."""
    wanted = parsed(assignments)

    async def change(admin: Admin) -> None:
        mask = FieldMask(paths=[assignment.partition("=")[0] for assignment in assignments])
        request = pb.UpdateSettingsRequest(settings=wanted, update_mask=mask)
        console().print(settings_table(await admin.settings.UpdateSettings(request)))

    with_admin(where, change)


def reset_settings(where: Where, names: Sequence[str]) -> None:
    """`admin settings reset`."""

    async def reset(admin: Admin) -> None:
        request = pb.ResetSettingsRequest(reset_mask=FieldMask(paths=names))
        console().print(settings_table(await admin.settings.ResetSettings(request)))

    with_admin(where, reset)


def parsed(assignments: Sequence[str]) -> pb.Settings:
    """The message with these values. Raises AdminError with a sentence for the person who typed them."""
    plain: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise AdminError(f"{assignment}: write NAME=VALUE, such as account_stream_limit=4.")
        if name not in FIELDS:
            raise AdminError(f"There is no setting {name}. There are: {', '.join(FIELDS)}.")
        plain[name] = value_of(FIELDS[name], text)
    try:
        return ParseDict(plain, pb.Settings())
    except ParseError as error:
        raise AdminError(f"That cannot be set: {error}") from error


def value_of(field: FieldDescriptor, text: str) -> object:
    """What was typed, as protobuf's JSON has it. Raises AdminError."""
    if field.is_repeated:
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.enum_type is not None:
        names = {short(field.enum_type, value.name): value.name for value in field.enum_type.values if value.number}
        if text not in names:
            raise AdminError(f"{field.name} is one of: {', '.join(names)}.")
        return names[text]
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text.lower() not in YES_AND_NO:
            raise AdminError(f"{field.name} is on or off.")
        return YES_AND_NO[text.lower()]
    if field.type == FieldDescriptor.TYPE_UINT32 and not text.isdecimal():
        raise AdminError(f"{field.name} is a whole number, 0 or more.")
    return int(text) if field.type == FieldDescriptor.TYPE_UINT32 else text


def settings_table(found: pb.Settings) -> Table:
    """One line per setting."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value")
    table.add_column("from", no_wrap=True)
    for name, field in FIELDS.items():
        is_changed = name in found.changed_fields
        origin = Text("changed here", style="yellow") if is_changed else Text("environment", style="dim")
        table.add_row(name, Text(shown(field, getattr(found, name))), origin)
    return table


def shown(field: FieldDescriptor, value: object) -> str:
    """A value as a person would type it."""
    if field.enum_type is not None and isinstance(value, int):
        return short(field.enum_type, field.enum_type.values_by_number[value].name)
    if isinstance(value, bool):
        return "on" if value else "off"
    if field.is_repeated and isinstance(value, Sequence):
        return ", ".join(str(one) for one in value) or "none"
    return str(value) or "none"


def short(enum: EnumDescriptor, name: str) -> str:
    """A value of an enum without the enum's name."""
    prefix = "".join(f"_{c}" if c.isupper() else c for c in enum.name).lstrip("_")
    return name.removeprefix(f"{prefix.upper()}_").lower()
