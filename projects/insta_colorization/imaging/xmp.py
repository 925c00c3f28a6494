"""XMP packets: reading what they say about a picture's origin, and adding an entry to their history.

Everything else in a packet is kept: elements, attributes, prefixes and white space in values; only comments are lost.
XML is parsed without entities and to a limited depth, because packets come from untrusted files.
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
# The customary prefixes; some programs look for them instead of the namespaces.
_PREFIXES = {_META: 'x', _RDF: 'rdf', _IPTC: 'Iptc4xmpExt', _MEDIA: 'xmpMM', _EVENT: 'stEvt', _NOTE: 'xmpNote'}
_ABOUT, _SOURCE_TYPE, _HISTORY = f'{{{_RDF}}}about', f'{{{_IPTC}}}DigitalSourceType', f'{{{_MEDIA}}}History'
_EXTENDED = f'{{{_NOTE}}}HasExtendedXMP'
_DESCRIPTION, _RESOURCE = f'{{{_RDF}}}Description', f'{{{_RDF}}}resource'
_DEEPEST = 64
_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_TAIL = '\n<?xpacket end="w"?>'


@dataclass(frozen=True)
class Origin:
    """What a packet says about the origin of its picture.

    Attributes:
        source_type: its `Iptc4xmpExt:DigitalSourceType`, or None.
        history: the entries of its `xmpMM:History`, oldest first, each {field: text}.
    """

    source_type: str | None
    history: tuple[dict[str, str], ...]


def read_origin(packet: bytes) -> Origin:
    """Reads what a packet says about the origin of its picture.

    Raises:
        ValueError: the packet is not XMP.
    """
    descriptions = _descriptions(_parsed(packet)[0])
    types = [value for each in descriptions for value in _source_types(each)]
    return Origin(next(iter(types), None), tuple(map(_fields, _entries(descriptions))))


def with_event(packet: bytes, source_type: str, event: Mapping[str, str]) -> bytes:
    """Returns a packet with another digital source type and one more entry in its history.

    Args:
        packet: the existing packet; b'' if there is none.
        source_type: the URI of a term of IPTC's vocabulary.
        event: the entry, {field of `stEvt`: text}.

    Raises:
        ValueError: the packet is not XMP.
    """
    root, prefixes = _parsed(packet) if packet else (Element(f'{{{_META}}}xmpmeta'), {})
    rdf = _rdf_of(root) if packet else ElementTree.SubElement(root, f'{{{_RDF}}}RDF')
    descriptions = _descriptions(root)
    for each in descriptions:
        _remove_source_type(each)
    own = ElementTree.SubElement(rdf, _DESCRIPTION, {**_about(descriptions), _SOURCE_TYPE: source_type})
    histories = [found for each in descriptions for found in each.findall(_HISTORY)]
    history = histories[-1] if histories else ElementTree.SubElement(own, _HISTORY)
    entries = history[0] if len(history) else ElementTree.SubElement(history, f'{{{_RDF}}}Seq')
    entry = ElementTree.SubElement(entries, f'{{{_RDF}}}li', {f'{{{_RDF}}}parseType': 'Resource'})
    for name, text in event.items():
        ElementTree.SubElement(entry, f'{{{_EVENT}}}{name}').text = text
    return _packet(root, prefixes)


def divided(packet: bytes, most: int) -> tuple[bytes, bytes]:
    """Splits a packet in two, as JPEG requires of a long one (XMP, part 3); the first part has the second's digest.

    Args:
        packet: the packet.
        most: the size limit of the first part in bytes. It gets the source type and, if there is room, the history.

    Returns:
        The first part, a packet, and the rest, an `xmpmeta` element without the packet's wrapper.

    Raises:
        ValueError: the packet is not XMP.
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
    """Merges the two parts of a split packet; returns `packet` unchanged if `rest` does not belong to it."""
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
    """Builds a tree and records its namespace prefixes; raises `ValueError` where it is nested too deeply."""

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
    """The `rdf:about` of a further description, which must equal that of the others."""
    return {_ABOUT: descriptions[0].get(_ABOUT, descriptions[0].get('about', '')) if descriptions else ''}


def _source_types(description: Element) -> list[str]:
    """The source types in a description: as an attribute, an element or a resource."""
    elements = [each.get(_RESOURCE) or (each.text or '').strip() for each in description.findall(_SOURCE_TYPE)]
    return [text for text in (description.get(_SOURCE_TYPE), *elements) if text]


def _remove_source_type(description: Element) -> None:
    description.attrib.pop(_SOURCE_TYPE, None)
    for each in description.findall(_SOURCE_TYPE):
        description.remove(each)


def _entries(descriptions: list[Element]) -> list[Element]:
    return [entry for each in descriptions for entry in each.findall(f'{_HISTORY}/*/{{{_RDF}}}li')]


def _fields(entry: Element) -> dict[str, str]:
    """The fields of an entry: its own elements and attributes, and those of a description in it."""
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
    """Serializes an element with {namespace: prefix} `names`; `declared` are the declarations of the root."""

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
    """(namespace, local name) of a name in ElementTree's notation, `{namespace}local`."""
    uri, _, local = name.rpartition('}')
    return uri.removeprefix('{'), local
