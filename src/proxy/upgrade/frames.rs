//! Where the frames of WebSocket begin and end (RFC 6455 section 5): what is passed on, and where a
//! Close of our own may stand.
//!
//! Only heads are looked at. What a message says, whether fragments belong together, opcodes that
//! an extension may define, and the RSV bits, by which compressed messages are told, are between
//! the two ends. What can be wrong here is refused though it cannot be used to smuggle anything:
//! nothing on this connection is read as HTTP any more, by us or by the backend, and none of it is
//! ever used for somebody else.

/// Who sends the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Its frames are masked (RFC 6455 section 5.1).
    Client,
    /// Its frames are not.
    Backend,
}

/// What RFC 6455 says has to end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// Or masked by a backend.
    #[error("a frame that is not masked as its sender has to")]
    Masking,
    /// More than 125 bytes, or a fragment.
    #[error("a control frame that is too long or a fragment")]
    Control,
    /// More than 63 bits, or in more bytes than it needs.
    #[error("a frame with an impossible length")]
    Length,
}

/// The way of the frames of one side.
#[derive(Debug)]
pub(super) struct Frames {
    side: Side,
    /// Bytes of the current frame that are still to pass, its head included; 0 between two frames.
    left: u64,
    is_data: bool,
    /// Bytes that have passed of frames that are no control frames.
    data: u64,
    closed: bool,
}

const CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    opcode: u8,
    /// Head and payload.
    whole: u64,
    /// The head alone.
    length: usize,
}

impl Head {
    /// The head at the front; `None` when more of it has to come.
    fn read(bytes: &[u8], side: Side) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = first & 0x0f;
        let is_control = opcode & 0x8 != 0;
        let short = second & 0x7f;
        let is_masked = second & MASKED != 0;
        if is_masked != (side == Side::Client) {
            return Err(FrameError::Masking);
        }
        if is_control && (first & FINAL == 0 || short > 125) {
            return Err(FrameError::Control);
        }
        let (extended, least) = match short {
            126 => (2, 126),
            127 => (8, 1 << 16),
            _ => (0, 0),
        };
        let Some(digits) = rest.get(..extended) else {
            return Ok(None);
        };
        let payload = match extended {
            0 => u64::from(short),
            _ => digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if payload < least || payload > i64::MAX.unsigned_abs() {
            return Err(FrameError::Length);
        }
        let length = 2 + extended + if is_masked { 4 } else { 0 };
        Ok((bytes.len() >= length).then_some(Self {
            opcode,
            whole: payload + length as u64,
            length,
        }))
    }
}

impl Frames {
    pub(super) const fn of(side: Side) -> Self {
        Self {
            side,
            left: 0,
            is_data: false,
            data: 0,
            closed: false,
        }
    }

    /// How many of these bytes, which come next, may be passed on: up to a head that is not whole
    /// yet, or is wrong. A wrong one is an error once it is at the front.
    ///
    /// # Errors
    /// [`FrameError`].
    pub(super) fn passable(&self, bytes: &[u8]) -> Result<usize, FrameError> {
        let mut left = self.left;
        let mut at = 0;
        loop {
            let here = cut(left, bytes.len() - at);
            at += here;
            left -= here as u64;
            if left > 0 || at == bytes.len() {
                return Ok(at);
            }
            match Head::read(&bytes[at..], self.side) {
                Ok(Some(head)) => left = head.whole,
                Err(error) if at == 0 => return Err(error),
                Ok(None) | Err(_) => return Ok(at),
            }
        }
    }

    /// Notes that these bytes have been passed on, which were [passable](Self::passable).
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut count: usize) {
        while count > 0 {
            if self.left == 0 {
                let Ok(Some(head)) = Head::read(bytes, self.side) else {
                    return;
                };
                self.left = head.whole;
                self.is_data = head.opcode & 0x8 == 0;
                self.closed |= head.opcode == CLOSE;
            }
            let here = cut(self.left, count);
            self.left -= here as u64;
            if self.is_data {
                self.data += here as u64;
            }
            bytes = &bytes[here..];
            count -= here;
        }
    }

    /// How many of these bytes belong to the frame that has begun to pass.
    pub(super) fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        cut(self.left, bytes.len())
    }

    /// Whether no frame has begun to pass that has not ended.
    pub(super) const fn is_between(&self) -> bool {
        self.left == 0
    }

    /// Whether a Close has begun to pass.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes that have passed of frames that carry messages: the others keep a connection alive that
    /// nobody uses.
    pub(super) const fn data(&self) -> u64 {
        self.data
    }
}

fn cut(left: u64, length: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(length)
}

/// A Close to a client.
pub(super) fn close_to_client(code: u16, reason: &str) -> Vec<u8> {
    // A control frame has 125 bytes at most; ours are words of our own.
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let length = u8::try_from(2 + reason.len()).unwrap_or_default();
    let [high, low] = code.to_be_bytes();
    [&[FINAL | CLOSE, length, high, low], reason].concat()
}

/// A Close to a backend, as a client that leaves sends it. The mask hides nothing: what it is for is
/// to keep clients from choosing the bytes that proxies see, and these are ours.
pub(super) fn close_to_backend(code: u16, mask: [u8; 4]) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    let [a, b, c, d] = mask;
    vec![FINAL | CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: usize, side: Side) -> Vec<u8> {
        let masked = if side == Side::Client { MASKED } else { 0 };
        let mut frame = vec![first];
        match payload {
            ..126 => frame.push(masked | u8::try_from(payload).unwrap()),
            126..0x1_0000 => {
                frame.push(masked | 126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(masked | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        if side == Side::Client {
            frame.extend([1, 2, 3, 4]);
        }
        // A payload that would be heads, if it was taken for one.
        frame.resize(frame.len() + payload, 0x8f);
        frame
    }

    /// Passes pieces of so many bytes, each as far as it may; where frames ended.
    fn walk(bytes: &[u8], side: Side, piece: usize) -> Result<Vec<usize>, FrameError> {
        let mut frames = Frames::of(side);
        let (mut passed, mut ends) = (0, Vec::new());
        for end in (1..=bytes.len()).filter(|end| end % piece == 0 || *end == bytes.len()) {
            loop {
                let next = &bytes[passed..end];
                let whole = frames.passable(next)?;
                // As a peer that takes a few bytes at a time.
                let few = whole.min(3);
                if few == 0 {
                    break;
                }
                frames.pass(next, few);
                passed += few;
                if frames.is_between() {
                    ends.push(passed);
                }
            }
        }
        assert_eq!(passed, bytes.len());
        Ok(ends)
    }

    #[test]
    fn frames_end_where_their_length_says_however_they_come() {
        for side in [Side::Client, Side::Backend] {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (first, length) in [
                (0x81, 0),
                (0x02, 125),
                (0x00, 126),
                (0x89, 4),
                (0x80, 300),
                (0xc1, 65_535),
                (0xf3, 65_536),
                (0x8a, 125),
                (0x88, 2),
            ] {
                bytes.extend(frame(first, length, side));
                ends.push(bytes.len());
            }
            for piece in [1, 2, 7, 1000, bytes.len()] {
                let seen = walk(&bytes, side, piece).unwrap();
                let all = ends.iter().all(|end| seen.contains(end));
                // A peer that takes three bytes at a time does not stop at each.
                assert!(piece > 1 || all, "{side:?} {piece}: {seen:?}");
                assert!(
                    seen.iter().all(|end| ends.contains(end)),
                    "{side:?} {piece}"
                );
            }
        }
    }

    #[test]
    fn data_and_close_are_told_from_what_only_keeps_a_connection() {
        let mut frames = Frames::of(Side::Backend);
        let mut pass = |first, length| {
            let bytes = frame(first, length, Side::Backend);
            assert_eq!(frames.passable(&bytes), Ok(bytes.len()));
            frames.pass(&bytes, bytes.len());
            (frames.data(), frames.is_closed())
        };
        assert_eq!(pass(0x89, 5), (0, false));
        assert_eq!(pass(0x8a, 5), (0, false));
        assert_eq!(pass(0x81, 5), (7, false));
        assert_eq!(pass(0x80, 5), (14, false));
        assert_eq!(pass(0x88, 2), (14, true));
    }

    #[test]
    fn what_has_to_end_a_connection_does_and_what_came_before_it_passes() {
        let of = |side, bytes: &[u8]| Frames::of(side).passable(bytes);
        let masked = [0x81, 0x80, 0, 0, 0, 0];
        assert_eq!(of(Side::Client, &masked), Ok(6));
        assert_eq!(of(Side::Backend, &masked), Err(FrameError::Masking));
        assert_eq!(of(Side::Backend, &[0x81, 0]), Ok(2));
        assert_eq!(of(Side::Client, &[0x81, 0]), Err(FrameError::Masking));
        assert_eq!(of(Side::Backend, &[0x09, 0]), Err(FrameError::Control));
        assert_eq!(of(Side::Backend, &[0x89, 126]), Err(FrameError::Control));
        assert_eq!(of(Side::Backend, &[0x88, 127]), Err(FrameError::Control));
        let long = |length: u64| [&[0x82, 127][..], &length.to_be_bytes()].concat();
        assert_eq!(of(Side::Backend, &long(1 << 63)), Err(FrameError::Length));
        assert_eq!(of(Side::Backend, &long(u64::MAX)), Err(FrameError::Length));
        assert_eq!(of(Side::Backend, &long(65_535)), Err(FrameError::Length));
        assert_eq!(of(Side::Backend, &long(65_536)), Ok(10));
        assert_eq!(of(Side::Backend, &long((1 << 63) - 1)), Ok(10));
        let medium = [0x82, 126, 0, 125];
        assert_eq!(of(Side::Backend, &medium), Err(FrameError::Length));
        assert_eq!(of(Side::Backend, &[0x82, 126, 0, 126]), Ok(4));
        assert_eq!(of(Side::Backend, &[0x81, 0, 0x81, 0x80]), Ok(2));
        // A head that is not whole yet waits.
        assert_eq!(of(Side::Backend, &[0x81]), Ok(0));
        assert_eq!(of(Side::Client, &masked[..5]), Ok(0));
    }

    #[test]
    fn our_own_close_is_a_frame_of_its_side() {
        let close = close_to_client(1008, "gone");
        assert_eq!(close, b"\x88\x06\x03\xf0gone");
        assert_eq!(Frames::of(Side::Backend).passable(&close), Ok(8));
        let close = close_to_backend(1001, [1, 2, 3, 4]);
        assert_eq!(Frames::of(Side::Client).passable(&close), Ok(8));
        assert_eq!([close[6] ^ 1, close[7] ^ 2], 1001_u16.to_be_bytes());
    }
}
