"""What is read of XMP packets, what an entry in the history changes, and which packets are refused."""

import pytest

from insta_colorization.imaging.xmp import Origin, divided, joined, read_origin, with_event

TYPES = 'http://cv.iptc.org/newscodes/digitalsourcetype/'
OURS = f'{TYPES}compositeWithTrainedAlgorithmicMedia'
EVENT = {'action': 'edited', 'parameters': '{"a": "<&\\">"}'}
NAMESPACES = (
    'xmlns:x="adobe:ns:meta/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:iptc="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"'
)
TITLE = '<dc:title><rdf:Alt><rdf:li xml:lang="de">Häfen &amp; Boote</rdf:li></rdf:Alt></dc:title>'
SCANNED = '<rdf:li stEvt:action="scanned"/>'


def packet(inner: str = '', attributes: str = '') -> bytes:
    """A packet with one description."""
    return (
        f'<?xpacket begin="\ufeff"?><x:xmpmeta {NAMESPACES}><rdf:RDF><rdf:Description rdf:about="uuid:1" {attributes}>'
        f'{inner}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def history(entries: str) -> str:
    return f'<xmpMM:History><rdf:Seq>{entries}</rdf:Seq></xmpMM:History>'


def test_a_photo_without_xmp_gets_a_packet():
    made = with_event(b'', OURS, EVENT)

    assert read_origin(made) == Origin(OURS, (EVENT,))
    assert made.startswith('<?xpacket begin="\ufeff"'.encode())
    assert b' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"' in made


@pytest.mark.parametrize(
    ('inner', 'attributes'),
    [
        pytest.param('', f'iptc:DigitalSourceType="{TYPES}negativeFilm"', id='attribute'),
        pytest.param(f'<iptc:DigitalSourceType>\n{TYPES}negativeFilm</iptc:DigitalSourceType>', '', id='element'),
        pytest.param(f'<iptc:DigitalSourceType rdf:resource="{TYPES}negativeFilm"/>', '', id='reference'),
    ],
)
def test_the_source_type_is_replaced(inner, attributes):
    source = packet(inner, attributes)

    made = with_event(source, OURS, EVENT)

    assert read_origin(source).source_type == f'{TYPES}negativeFilm'
    assert read_origin(made).source_type == OURS
    assert b'negativeFilm' not in made


def test_all_else_stays():
    made = with_event(packet(TITLE, 'dc:format="a&#10;b \'&quot;"'), OURS, EVENT).decode()

    assert TITLE in made
    assert 'dc:format="a&#10;b \'&quot;"' in made
    assert made.count('rdf:about="uuid:1"') == 2  # all descriptions of a packet are about one thing


@pytest.mark.parametrize(
    'entries',
    [
        SCANNED,
        '<rdf:li rdf:parseType="Resource"><stEvt:action>scanned</stEvt:action></rdf:li>',
        '<rdf:li><rdf:Description stEvt:action="scanned"/></rdf:li>',
    ],
    ids=['attributes', 'elements', 'description'],
)
def test_the_history_goes_on(entries):
    made = with_event(packet(history(entries)), OURS, EVENT)

    assert read_origin(made).history == ({'action': 'scanned'}, EVENT)
    assert made.count(b'<xmpMM:History>') == 1


def test_the_entry_is_the_last_one_where_there_are_two_histories():
    made = with_event(packet('<xmpMM:History/>' + history(SCANNED)), OURS, EVENT)

    assert read_origin(made).history == ({'action': 'scanned'}, EVENT)


def test_what_was_coloured_twice_has_two_entries():
    once = with_event(packet(), OURS, EVENT)

    assert read_origin(with_event(once, OURS, EVENT)).history == (EVENT, EVENT)


def test_prefixes_that_mean_something_else_are_left_to_it():
    source = packet().replace(b'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"', b'xmlns:xmpMM="urn:other"')

    made = with_event(source.replace(b'uuid:1"', b'uuid:1" xmpMM:own="1"'), OURS, EVENT)

    assert b' xmpMM:own="1"' in made
    assert read_origin(made).history == (EVENT,)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', 'it has no rdf:RDF'),
        (packet()[:-60], 'mismatched tag|not well-formed|unclosed|no element'),
        (b'\xff\xfe\0', 'codec'),
        (b'rubbish', 'syntax error'),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + packet(), 'it declares a document type'),
        (packet('<dc:a>' * 10_000 + '</dc:a>' * 10_000), 'nested deeper than 64'),
    ],
    ids=['no-rdf', 'cut', 'no-text', 'no-xml', 'entities', 'deep'],
)
def test_what_is_no_xmp_is_refused(data, message):
    for use in (read_origin, lambda data: with_event(data, OURS, EVENT), lambda data: divided(data, 1000)):
        with pytest.raises(ValueError, match=message):
            use(data)
    assert joined(data, packet()) == data


@pytest.mark.parametrize(('most', 'first'), [(5000, (EVENT,)), (400, ())], ids=['with-history', 'without'])
def test_a_long_packet_is_divided_and_joined(most, first):
    long = packet(TITLE + history(f'{SCANNED * 30}'), f'iptc:DigitalSourceType="{TYPES}negativeFilm"')
    whole = with_event(long, OURS, EVENT)

    head, rest = divided(whole, most)

    assert len(head) <= max(most, 700)
    assert read_origin(head).source_type == OURS
    assert read_origin(head).history[-1:] == first
    assert b'Boote' in rest
    assert b'DigitalSourceType' not in rest
    again = joined(head, rest)
    assert read_origin(again) == read_origin(whole)
    assert TITLE in again.decode()
    assert b'HasExtendedXMP' not in again


def test_the_rest_of_another_packet_is_left_out():
    head, _ = divided(with_event(packet(TITLE), OURS, EVENT), 5000)

    assert joined(head, packet()) == head
