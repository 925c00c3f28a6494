"""XMP packets as bytes: what they say of a picture's origin, and how an entry gets into their history.

All else that a packet says stays: elements, attributes, prefixes and white space in values; comments go. XML is read
without entities, and nested no deeper than any program writes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

_RDF = 'http://www.w3.org/1999/02/22-rdf-syntax-ns#'
_IPTC = 'http://iptc.org/std/Iptc4xmpExt/2008-02-29/'
_MEDIA = 'http://ns.adobe.com/xap/1.0/mm/'
_EVENT = 'http://ns.adobe.com/xap/1.0/sType/ResourceEvent#'
_META = 'adobe:ns:meta/'
_NOTE = 'http://ns.adobe.com/xmp/note/'
_XML = 'http://www.w3.org/XML/1998/namespace'
# The names that other programs look for.
_PREFIXES = {_META: 'x', _RDF: 'rdf', _IPTC: 'Iptc4xmpExt', _MEDIA: 'xmpMM', _EVENT: 'stEvt', _NOTE: 'xmpNote'}
_ABOUT, _SOURCE_TYPE, _HISTORY = f'{{{_RDF}}}about', f'{{{_IPTC}}}DigitalSourceType', f'{{{_MEDIA}}}History'
_EXTENDED = f'{{{_NOTE}}}HasExtendedXMP'
_DESCRIPTION, _RESOURCE = f'{{{_RDF}}}Description', f'{{{_RDF}}}resource'
_DEEPEST = 64
_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_TAIL = '\n<?xpacket end="w"?>'


@dataclass(frozen=True)
class Origin:
    """What a packet says of how its picture came about.

    Attributes:
        source_type: its `Iptc4xmpExt:DigitalSourceType`, or None.
        history: the entries of its `xmpMM:History`, oldest first, each {field: text}.
    """

    source_type: str | None
    history: tuple[dict[str, str], ...]


def read_origin(packet: bytes) -> Origin:
    """What a packet says of its picture's origin.

    Raises:
        ValueError: it is no XMP.
    """
    descriptions = _descriptions(_parsed(packet)[0])
    types = [value for each in descriptions for value in _source_types(each)]
    return Origin(next(iter(types), None), tuple(map(_fields, _entries(descriptions))))


def with_event(packet: bytes, source_type: str, event: Mapping[str, str]) -> bytes:
    """A packet with another digital source type and one more entry in its history.

    Args:
        packet: the packet that there is; b'' for none.
        source_type: a term of IPTC's vocabulary, by its address.
        event: the entry, {field of `stEvt`: text}.

    Raises:
        ValueError: it is no XMP.
    """
    root, prefixes = _parsed(packet) if packet else (Element(f'{{{_META}}}xmpmeta'), {})
    rdf = _rdf_of(root) if packet else ElementTree.SubElement(root, f'{{{_RDF}}}RDF')
    descriptions = _descriptions(root)
    for each in descriptions:
        _remove_source_type(each)
    own = ElementTree.SubElement(rdf, _DESCRIPTION, {**_about(descriptions), _SOURCE_TYPE: source_type})
    history = next((found for each in descriptions for found in each.findall(_HISTORY)), None)
    if history is None:
        history = ElementTree.SubElement(own, _HISTORY)
    entries = history[0] if len(history) else ElementTree.SubElement(history, f'{{{_RDF}}}Seq')
    entry = ElementTree.SubElement(entries, f'{{{_RDF}}}li', {f'{{{_RDF}}}parseType': 'Resource'})
    for name, text in event.items():
        ElementTree.SubElement(entry, f'{{{_EVENT}}}{name}').text = text
    return _packet(root, prefixes)


def divided(packet: bytes, most: int) -> tuple[bytes, bytes]:
    """A packet in two parts, as a JPEG has a long one (XMP, part 3): the first names the second by its digest.

    Args:
        packet: the packet.
        most: how many bytes the first part may have; it takes the source type and, where there is room, the history.

    Raises:
        ValueError: it is no XMP.
    """
    root, prefixes = _parsed(packet)
    descriptions = _descriptions(root)
    types = [value for each in descriptions for value in _source_types(each)]
    first = Element(f'{{{_META}}}xmpmeta')
    own = ElementTree.SubElement(ElementTree.SubElement(first, f'{{{_RDF}}}RDF'), _DESCRIPTION, _about(descriptions))
    own.set(_EXTENDED, '0' * 32)
    if types:
        own.set(_SOURCE_TYPE, types[0])
    for each in descriptions:
        _remove_source_type(each)
        for history in each.findall(_HISTORY):
            own.append(history)
            if len(_packet(first, prefixes)) <= most:
                each.remove(history)
            else:
                own.remove(history)
    rest = _serialized(root, prefixes).encode()
    own.set(_EXTENDED, md5(rest, usedforsecurity=False).hexdigest().upper())
    return _packet(first, prefixes), rest


def joined(packet: bytes, rest: bytes) -> bytes:
    """A packet with the rest of it that a JPEG has elsewhere, if that is its own; otherwise as it is."""
    try:
        root, prefixes = _parsed(packet)
        named = [each for each in _descriptions(root) if _EXTENDED in each.attrib or each.find(_EXTENDED) is not None]
        digest = md5(rest, usedforsecurity=False).hexdigest().upper()
        if digest not in [each.get(_EXTENDED) or each.findtext(_EXTENDED) for each in named]:
            return packet
        other, more = _parsed(rest)
    except ValueError:
        return packet
    for each in named:
        each.attrib.pop(_EXTENDED, None)
        for element in each.findall(_EXTENDED):
            each.remove(element)
    _rdf_of(root).extend(_rdf_of(other))
    return _packet(root, {**{uri: name for uri, name in more.items() if name not in prefixes.values()}, **prefixes})


class _Builder(ElementTree.TreeBuilder):
    """Makes a tree and keeps the prefixes of its namespaces; raises `ValueError` for what no XMP has."""

    def __init__(self) -> None:
        super().__init__()
        self.prefixes: dict[str, str] = {}
        self._depth = 0

    def start_ns(self, prefix: str, uri: str) -> None:
        if uri not in self.prefixes and prefix and prefix not in self.prefixes.values():
            self.prefixes[uri] = prefix

    def start(self, tag: str, attrs: dict) -> Element:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f'its elements are nested deeper than {_DEEPEST}')
        return super().start(tag, attrs)

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)


def _parsed(packet: bytes) -> tuple[Element, dict[str, str]]:
    """The root of a packet and {namespace: prefix}."""
    text = packet.strip(b'\0').decode('utf-8-sig')  # a UnicodeDecodeError is a ValueError
    if '<!DOCTYPE' in text:
        raise ValueError('it declares a document type')
    builder = _Builder()
    parser = ElementTree.XMLParser(target=builder)
    try:
        parser.feed(text.strip())
        root = parser.close()
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    _rdf_of(root)
    return root, builder.prefixes


def _rdf_of(root: Element) -> Element:
    rdf = next(root.iter(f'{{{_RDF}}}RDF'), None)
    if rdf is None:
        raise ValueError('it has no rdf:RDF')
    return rdf


def _descriptions(root: Element) -> list[Element]:
    return _rdf_of(root).findall(_DESCRIPTION)


def _about(descriptions: list[Element]) -> dict[str, str]:
    """What a further description is about: the same as the others."""
    return {_ABOUT: descriptions[0].get(_ABOUT, descriptions[0].get('about', '')) if descriptions else ''}


def _source_types(description: Element) -> list[str]:
    """What a description says the source type is, as an attribute, an element or a reference."""
    elements = [each.get(_RESOURCE) or (each.text or '').strip() for each in description.findall(_SOURCE_TYPE)]
    return [text for text in (description.get(_SOURCE_TYPE), *elements) if text]


def _remove_source_type(description: Element) -> None:
    description.attrib.pop(_SOURCE_TYPE, None)
    for each in description.findall(_SOURCE_TYPE):
        description.remove(each)


def _entries(descriptions: list[Element]) -> list[Element]:
    return [entry for each in descriptions for entry in each.findall(f'{_HISTORY}/*/{{{_RDF}}}li')]


def _fields(entry: Element) -> dict[str, str]:
    """The fields of an entry: elements or attributes of its own or of the description in it."""
    start, found = f'{{{_EVENT}}}', dict[str, str]()
    for holder in (entry, *entry.findall(_DESCRIPTION)):
        said = {**holder.attrib, **{each.tag: each.text or '' for each in holder}}
        found |= {name.removeprefix(start): text for name, text in said.items() if name.startswith(start)}
    return found


def _packet(root: Element, prefixes: Mapping[str, str]) -> bytes:
    return (_HEAD + _serialized(root, prefixes) + _TAIL).encode()


def _serialized(root: Element, prefixes: Mapping[str, str]) -> str:
    names = {_XML: 'xml', **prefixes}
    used = {_split(name)[0] for each in root.iter() for name in (each.tag, *each.attrib)}
    for uri in sorted(used - {''}):
        wanted = names.get(uri) or _PREFIXES.get(uri, 'ns')
        others = {prefix for other, prefix in names.items() if other != uri}
        numbered = (f'{wanted}{number}' for number in range(len(others) + 1))
        names[uri] = wanted if wanted not in others else next(each for each in numbered if each not in others)
    declared = ''.join(f' xmlns:{prefix}={quoteattr(uri)}' for uri, prefix in names.items() if uri != _XML)
    return _text(root, names, declared)


def _text(element: Element, names: Mapping[str, str], declared: str = '') -> str:
    """An element as XML whose namespaces have these names."""

    def named(name: str) -> str:
        uri, local = _split(name)
        return f'{names[uri]}:{local}' if uri else local

    attributes = ''.join(f' {named(name)}={quoteattr(value)}' for name, value in element.attrib.items())
    inner = _escaped(element.text) + ''.join(_text(each, names) + _escaped(each.tail) for each in element)
    tag = named(element.tag)
    return f'<{tag}{declared}{attributes}>{inner}</{tag}>' if inner else f'<{tag}{declared}{attributes}/>'


def _escaped(text: str | None) -> str:
    return escape(text or '', {'\r': '&#13;'})


def _split(name: str) -> tuple[str, str]:
    """(namespace, local name) of a name as ElementTree has it."""
    uri, _, local = name.rpartition('}')
    return uri.removeprefix('{'), local
