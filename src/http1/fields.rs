//! Header and trailer fields as they were received: one block of bytes, and where each name and
//! value lies in it.
//!
//! The syntax of a field line is checked here, once, for requests, responses and trailers. What a
//! field means is elsewhere: framing in `head` and `response`, hop-by-hop and identity fields in
//! the proxy.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use memchr::memmem::Finder;

/// The fields of one head or trailer section, in the order and with the case they were sent in.
///
/// Names are tokens and values hold no control byte but the tab: every constructor checks both.
#[derive(Clone, Default)]
pub struct Fields {
    block: Bytes,
    spans: Vec<Span>,
}

/// Where one field lies in the block.
#[derive(Clone, Copy)]
struct Span {
    name_start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
    /// Of its name: see [`key`].
    key: u16,
}

/// What tells most names apart at one glance, in any case: the length and the first byte.
const fn key(name: &[u8]) -> u16 {
    match name {
        [first, ..] => (name.len() as u16) << 8 | (*first | 0x20) as u16,
        [] => 0,
    }
}

// === impl Fields ===

impl Fields {
    /// Names and values, in the order received. Values have no white space at either end.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        self.iter_bytes().map(|(name, value)| (ascii(name), value))
    }

    /// The value of the first field of that name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.named(name).next().map(|field| field.value())
    }

    /// The values of all fields of that name, in any case.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.named(name).map(|field| field.value())
    }

    fn named<'f>(&'f self, name: &str) -> impl Iterator<Item = Received<'f>> {
        let key = key(name.as_bytes());
        let alike = self.received().filter(move |field| field.span.key == key);
        alike.filter(|field| field.name().eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether a field of that name, in any case, is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The number of fields; a name that came twice counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Copies fields that did not come from an HTTP/1 buffer, with the same checks. White space
    /// around a value is dropped.
    ///
    /// # Errors
    ///
    /// When a name is not a token, a value holds a control byte, or all together exceed 4 GiB.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, FieldError> {
        let mut block = BytesMut::with_capacity(512);
        let mut spans = Vec::with_capacity(16);
        for (name, value) in pairs {
            let value = trim(value);
            check_name(name.as_bytes())?;
            check_value(value)?;
            let name_start = block.len();
            block.extend_from_slice(name.as_bytes());
            let name_end = block.len();
            // As it will be written.
            block.extend_from_slice(b": ");
            let value_start = block.len();
            block.extend_from_slice(value);
            let places = [name_start, name_end, value_start, block.len()];
            spans.push(Span::new(name.as_bytes(), places)?);
            block.extend_from_slice(CRLF);
        }
        Ok(Self {
            block: block.freeze(),
            spans,
        })
    }

    /// Takes the field lines that begin at `start` in `block` and end with an empty line, without
    /// copying them. The caller has passed the block through [`check_line_ends`].
    pub(super) fn from_lines(block: Bytes, start: usize, most: usize) -> Result<Self, FieldError> {
        let mut spans = Vec::with_capacity(most.min(16));
        let mut at = start;
        while let Some(line) = block.get(at..).and_then(first_line)
            && !line.is_empty()
        {
            if spans.len() == most {
                return Err(FieldError::TooMany);
            }
            spans.push(Span::of_line(line, at)?);
            at += line.len() + CRLF.len();
        }
        Ok(Self { block, spans })
    }

    /// Reads the fields of a head back that [`write`](super::write) wrote.
    ///
    /// # Errors
    ///
    /// When they are none.
    pub fn of_written(head: Bytes) -> Result<Self, FieldError> {
        check_line_ends(&head)?;
        let first = first_line(&head).ok_or(FieldError::BareLineFeed)?;
        let start = first.len() + CRLF.len();
        Self::from_lines(head, start, usize::MAX)
    }

    /// As [`Fields::iter`], to be written on as they are.
    pub fn received(&self) -> impl Iterator<Item = Received<'_>> {
        self.spans.iter().map(|span| Received {
            block: &self.block,
            span: *span,
        })
    }

    /// As [`Fields::iter`], for comparisons that need no text.
    pub(super) fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.received().map(|field| (field.name(), field.value()))
    }

    /// Where the value of the first field of that name lies in the block.
    pub(super) fn place_of(&self, name: &str) -> Option<Range<usize>> {
        let span = self.named(name).next()?.span;
        Some(span.value_start as usize..span.value_end as usize)
    }

    /// A part of the block.
    pub(super) fn at(&self, place: &Range<usize>) -> &[u8] {
        &self.block[place.clone()]
    }
}

impl fmt::Debug for Fields {
    /// Names only: values are passwords, cookies and tokens often enough.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

// === Received ===

/// A field as it was received. Its syntax was checked then.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    block: &'a [u8],
    span: Span,
}

impl<'a> Received<'a> {
    /// The name: a token, in the case it was sent in.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        &self.block[self.span.name_start as usize..self.span.name_end as usize]
    }

    /// The value, without white space at either end.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        &self.block[self.span.value_start as usize..self.span.value_end as usize]
    }

    /// The whole line with its CRLF, where it was sent as it would be written.
    pub(super) fn line(&self) -> Option<&'a [u8]> {
        let (name_end, value_start) = (self.span.name_end as usize, self.span.value_start as usize);
        let value_end = self.span.value_end as usize;
        let as_written = self.block.get(name_end..value_start) == Some(b": ")
            && self.block.get(value_end..value_end + CRLF.len()) == Some(CRLF);
        as_written.then(|| &self.block[self.span.name_start as usize..value_end + CRLF.len()])
    }
}

// === impl Span ===

impl Span {
    /// From the name, and the four offsets in the order of the struct.
    fn new(name: &[u8], offsets: [usize; 4]) -> Result<Self, FieldError> {
        let offset = |at: usize| u32::try_from(offsets[at]).map_err(|_| FieldError::TooLarge);
        Ok(Self {
            key: key(name),
            name_start: offset(0)?,
            name_end: offset(1)?,
            value_start: offset(2)?,
            value_end: offset(3)?,
        })
    }

    /// Reads one line, without its CRLF, that begins at `start` in the block.
    fn of_line(line: &[u8], start: usize) -> Result<Self, FieldError> {
        // Names are short: looking for the colon first would cost more than the loop.
        let colon = line.iter().position(|byte| !is_token(*byte));
        let colon = colon.unwrap_or(line.len());
        match (colon, line.get(colon)) {
            (0, Some(b':')) => return Err(FieldError::EmptyName),
            (0, Some(b' ' | b'\t')) => return Err(FieldError::Folded),
            (_, Some(b':')) => {}
            (_, Some(b' ' | b'\t')) => return Err(FieldError::SpaceInName),
            (_, Some(_)) => return Err(FieldError::Name),
            (_, None) => return Err(FieldError::MissingColon),
        }
        let value = trim_end(&line[colon + 1..]);
        let value_end = colon + 1 + value.len();
        let value = trim_start(value);
        check_value(value)?;
        let value_start = value_end - value.len();
        let places = [start, start + colon, start + value_start, start + value_end];
        Self::new(&line[..colon], places)
    }
}

// === List fields ===

/// The comma-separated elements of a list field (`Connection`, …), trimmed; empty ones are skipped.
///
/// Quoted strings are not understood: none of the list fields that matter to a proxy has them.
pub fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

// === Syntax ===

/// What is wrong with a line of a head or of a trailer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A line feed without the carriage return before it.
    #[error("a line ends with a bare LF instead of CRLF")]
    BareLineFeed,
    /// A carriage return without the line feed after it.
    #[error("a bare CR inside a line")]
    BareCarriageReturn,
    /// A continuation line (obs-fold), which RFC 9112 forbids to send.
    #[error("a folded field: the line begins with white space")]
    Folded,
    /// `: value`
    #[error("a field with an empty name")]
    EmptyName,
    /// `Name : value`; what the name is differs from parser to parser.
    #[error("white space in a field name or before its colon")]
    SpaceInName,
    /// A field name with a byte that is not a token character.
    #[error("a field name with an illegal byte")]
    Name,
    /// A field line that is only a name.
    #[error("a field line without a colon")]
    MissingColon,
    /// A value with NUL or another control byte.
    #[error("a field value with a control byte")]
    Value,
    /// More fields than the limit.
    #[error("more fields than the limit")]
    TooMany,
    /// Longer than offsets can say.
    #[error("fields of more than 4 GiB")]
    TooLarge,
}

impl FieldError {
    /// True where two parsers could read the same bytes differently.
    pub(super) fn is_ambiguous(self) -> bool {
        match self {
            Self::BareLineFeed
            | Self::BareCarriageReturn
            | Self::Folded
            | Self::EmptyName
            | Self::SpaceInName
            | Self::Name
            | Self::Value => true,
            Self::MissingColon | Self::TooMany | Self::TooLarge => false,
        }
    }
}

pub(super) const CRLF: &[u8] = b"\r\n";

/// Where the head or trailer section at the front ends, after its empty line.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END));
    FINDER.find(bytes).map(|at| at + END.len())
}

/// Takes the head of so many bytes from the front. It is copied, and lives as long as its message
/// does: a head that pointed into the read buffer would hold all of that for as long.
pub(super) fn take_head(buffer: &mut BytesMut, length: usize) -> Bytes {
    let head = Bytes::copy_from_slice(&buffer[..length]);
    buffer.advance(length);
    head
}

/// How many legal bytes are at the front, before the usual end of such bytes or an illegal one.
///
/// Nearly always it is the usual end, so that is looked for first and the bytes before it are
/// checked without a branch, many at a time. `usual_end` itself must not be legal.
pub(super) fn legal_run(bytes: &[u8], usual_end: u8, legal: impl Fn(u8) -> bool) -> usize {
    let end = memchr(usual_end, bytes).unwrap_or(bytes.len());
    if bytes[..end]
        .iter()
        .fold(true, |all, byte| all & legal(*byte))
    {
        return end;
    }
    let illegal = bytes.iter().position(|byte| !legal(*byte));
    illegal.unwrap_or(bytes.len())
}

/// Refuses a CR that no LF follows and an LF that no CR precedes. At the very end a CR is fine: its
/// LF may not have arrived yet.
///
/// The fold has no branch, so the compiler vectorises it; a head passes at about memory speed.
pub(super) fn check_line_ends(bytes: &[u8]) -> Result<(), FieldError> {
    let pairs = || bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let differ = |first: u8, second: u8| (first == b'\r') != (second == b'\n');
    if bytes.first() == Some(&b'\n') {
        return Err(FieldError::BareLineFeed);
    }
    if !pairs().fold(false, |broken, (first, second)| {
        broken | differ(*first, *second)
    }) {
        return Ok(());
    }
    match pairs().find(|(first, second)| differ(**first, **second)) {
        Some((b'\r', _)) => Err(FieldError::BareCarriageReturn),
        _ => Err(FieldError::BareLineFeed),
    }
}

pub(super) fn check_name(name: &[u8]) -> Result<(), FieldError> {
    if name.is_empty() {
        return Err(FieldError::EmptyName);
    }
    if name.iter().all(|byte| is_token(*byte)) {
        Ok(())
    } else {
        Err(FieldError::Name)
    }
}

pub(super) fn check_value(value: &[u8]) -> Result<(), FieldError> {
    if is_text(value) {
        Ok(())
    } else {
        Err(FieldError::Value)
    }
}

/// Whether all bytes may stand in a field value.
///
/// Values are short and there are many, so eight bytes are looked at together; only what has a tab
/// or something worse in it is looked at byte by byte.
pub(super) fn is_text(value: &[u8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    // The known tests for a byte below 0x20, and for a byte that is 0x7f: the highest bit of some
    // byte is set where there is one.
    let controls = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        let delete = word ^ (EACH * 0x7f);
        (word.wrapping_sub(EACH * 0x20) & !word) | (delete.wrapping_sub(EACH) & !delete)
    };
    let (words, _) = value.as_chunks::<8>();
    // The last word overlaps the one before it.
    let plain = value.last_chunk().is_some_and(|last| {
        let found = words
            .iter()
            .fold(controls(last), |found, word| found | controls(word));
        found & HIGH == 0
    });
    plain || value.iter().all(|byte| is_text_byte(*byte))
}

/// Whether the byte may stand in a field value or a reason phrase: any but a control byte.
pub(super) fn is_text_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Whether the byte may stand in a token: a method or a field name (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut marks: &[u8] = b"!#$%&'*+-.^_`|~";
    while let [mark, rest @ ..] = marks {
        table[*mark as usize] = true;
        marks = rest;
    }
    table
};

/// Bytes that were checked to be ASCII, as text.
pub(super) fn ascii(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

/// The line at the front, without its end; none when the end has not come.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    memchr(b'\r', bytes).map(|end| &bytes[..end])
}

fn trim(bytes: &[u8]) -> &[u8] {
    trim_start(trim_end(bytes))
}

fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a [u8])];

    #[test]
    fn text_is_told_from_controls_wherever_they_stand() {
        for length in 0..40 {
            for byte in 0..=u8::MAX {
                for at in 0..length {
                    let mut value = vec![b'~'; length];
                    value[at] = byte;
                    assert_eq!(
                        is_text(&value),
                        is_text_byte(byte),
                        "{byte} at {at} of {length}"
                    );
                }
            }
        }
    }

    fn parse(lines: &[u8]) -> Result<Fields, FieldError> {
        check_line_ends(lines)?;
        Fields::from_lines(Bytes::copy_from_slice(lines), 0, 100)
    }

    #[track_caller]
    fn check(lines: &[u8], expected: Result<Pairs<'_>, FieldError>) {
        let parsed = parse(lines);
        let pairs = parsed
            .as_ref()
            .map(|fields| fields.iter().collect::<Vec<_>>());
        assert_eq!(pairs, expected.as_ref().map(|pairs| pairs.to_vec()));
    }

    #[track_caller]
    fn check_pair(name: &str, value: &[u8], expected: Result<(), FieldError>) {
        assert_eq!(Fields::from_pairs([(name, value)]).map(drop), expected);
    }

    #[test]
    fn case_and_order_are_kept() {
        check(
            b"B: 2\r\na: 1\r\nb: 3\r\n\r\n",
            Ok(&[("B", b"2"), ("a", b"1"), ("b", b"3")]),
        );
        check(b"\r\n", Ok(&[]));
    }

    #[test]
    fn white_space_around_a_value_is_dropped_and_inside_it_kept() {
        check(b"a:1\r\n\r\n", Ok(&[("a", b"1")]));
        check(b"a: \t 1 \t2\t \r\n\r\n", Ok(&[("a", b"1 \t2")]));
        check(b"a:\r\nb: \t \r\n\r\n", Ok(&[("a", b""), ("b", b"")]));
    }

    #[test]
    fn a_name_is_a_token_right_before_its_colon() {
        check(
            b"!#$%&'*+-.^_`|~09azAZ:1\r\n\r\n",
            Ok(&[("!#$%&'*+-.^_`|~09azAZ", b"1")]),
        );
        check(b": 1\r\n\r\n", Err(FieldError::EmptyName));
        check(b"a : 1\r\n\r\n", Err(FieldError::SpaceInName));
        check(b"a\t: 1\r\n\r\n", Err(FieldError::SpaceInName));
        check(b"a b: 1\r\n\r\n", Err(FieldError::SpaceInName));
        check(b"a(b: 1\r\n\r\n", Err(FieldError::Name));
        check(b"a\0: 1\r\n\r\n", Err(FieldError::Name));
        check(b"a\x0b: 1\r\n\r\n", Err(FieldError::Name));
        check(b"\x00: 1\r\n\r\n", Err(FieldError::Name));
        check(b"\xc3\xa9: 1\r\n\r\n", Err(FieldError::Name));
        check(b"a\r\n\r\n", Err(FieldError::MissingColon));
    }

    #[test]
    fn a_value_has_no_control_byte_but_the_tab() {
        check(
            b"a: \xff\x80 {}()\",;\t~\r\n\r\n",
            Ok(&[("a", b"\xff\x80 {}()\",;\t~")]),
        );
        for byte in (0..0x20_u8)
            .chain([0x7f])
            .filter(|byte| !b"\t\r\n".contains(byte))
        {
            check(
                &[b"a: x", &[byte][..], b"y\r\n\r\n"].concat(),
                Err(FieldError::Value),
            );
            check(
                &[b"a:", &[byte][..], b"y\r\n\r\n"].concat(),
                Err(FieldError::Value),
            );
        }
    }

    #[test]
    fn a_line_ends_with_crlf_only() {
        check(b"a: 1\r\nb: 2\r\n\r\n", Ok(&[("a", b"1"), ("b", b"2")]));
        check(b"a: 1\nb: 2\r\n\r\n", Err(FieldError::BareLineFeed));
        check(b"a: 1\r\nb: 2\r\n\n", Err(FieldError::BareLineFeed));
        check(b"\na: 1\r\n\r\n", Err(FieldError::BareLineFeed));
        check(b"a: 1\nb: 2\n\r\n", Err(FieldError::BareLineFeed));
        check(b"a: 1\rb: 2\r\n\r\n", Err(FieldError::BareCarriageReturn));
        check(b"a: 1\r\r\n\r\n", Err(FieldError::BareCarriageReturn));
    }

    #[test]
    fn a_folded_line_is_refused() {
        check(b"a: 1\r\nb: 2\r\n\r\n", Ok(&[("a", b"1"), ("b", b"2")]));
        check(b"a: 1\r\n b: 2\r\n\r\n", Err(FieldError::Folded));
        check(b"a: 1\r\n\tb\r\n\r\n", Err(FieldError::Folded));
        check(b" a: 1\r\n\r\n", Err(FieldError::Folded));
    }

    #[test]
    fn as_many_fields_as_the_limit_pass_and_one_more_does_not() {
        let lines = Bytes::from_static(b"a: 1\r\nb: 2\r\n\r\n");
        assert_eq!(
            Fields::from_lines(lines.clone(), 0, 2).map(|fields| fields.len()),
            Ok(2)
        );
        assert_eq!(
            Fields::from_lines(lines, 0, 1).map(drop),
            Err(FieldError::TooMany)
        );
    }

    #[test]
    fn a_cr_at_the_end_may_still_get_its_lf() {
        assert_eq!(check_line_ends(b"a: 1\r"), Ok(()));
        assert_eq!(check_line_ends(b""), Ok(()));
        assert_eq!(check_line_ends(b"\r"), Ok(()));
        assert_eq!(check_line_ends(b"\n"), Err(FieldError::BareLineFeed));
    }

    #[test]
    fn line_end_errors_are_found_at_every_offset() {
        for length in 1..200 {
            for at in 1..length {
                let mut bytes = vec![b'x'; length];
                bytes[at] = b'\n';
                assert_eq!(check_line_ends(&bytes), Err(FieldError::BareLineFeed));
                bytes[at - 1] = b'\r';
                assert_eq!(check_line_ends(&bytes), Ok(()));
                bytes[at] = b'x';
                assert_eq!(check_line_ends(&bytes), Err(FieldError::BareCarriageReturn));
            }
        }
    }

    #[test]
    fn names_are_looked_up_in_any_case_and_values_in_order() {
        let fields = parse(b"Cookie: a\r\nX: 0\r\ncookie: b\r\n\r\n").unwrap();
        assert_eq!(fields.get("COOKIE"), Some(&b"a"[..]));
        assert_eq!(fields.get_all("cOOkie").collect::<Vec<_>>(), [b"a", b"b"]);
        assert!(fields.contains("x"));
        assert!(!fields.contains("Cooki"));
        assert!(!fields.is_empty());
        assert!(Fields::default().is_empty());
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn pairs_pass_the_same_checks_as_lines() {
        let fields = Fields::from_pairs([("A", &b" 1\t"[..]), ("b", b"")]).unwrap();
        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [("A", &b"1"[..]), ("b", b"")]
        );
        check_pair("a", b"x y", Ok(()));
        check_pair("", b"x", Err(FieldError::EmptyName));
        check_pair("a b", b"x", Err(FieldError::Name));
        check_pair("a:", b"x", Err(FieldError::Name));
        check_pair("é", b"x", Err(FieldError::Name));
        check_pair("a", b"x\r\ny: z", Err(FieldError::Value));
        check_pair("a", b"x\ny", Err(FieldError::Value));
        check_pair("a", b"x\0", Err(FieldError::Value));
    }

    #[test]
    fn debug_output_shows_names_and_no_values() {
        let fields = parse(b"Authorization: secret\r\n\r\n").unwrap();
        assert_eq!(format!("{fields:?}"), "[\"Authorization\"]");
    }

    #[test]
    fn list_elements_are_trimmed_and_empty_ones_skipped() {
        let elements = |value| list_elements(value).collect::<Vec<&[u8]>>();
        assert_eq!(elements(b"close"), [b"close"]);
        assert_eq!(elements(b" a ,\tb,, ,c d"), [&b"a"[..], b"b", b"c d"]);
        assert!(elements(b"").is_empty());
        assert!(elements(b" , ").is_empty());
    }
}
