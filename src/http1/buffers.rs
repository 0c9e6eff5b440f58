//! Read and write buffers, lent by the thread and given back as soon as they are empty.
//!
//! A connection holds one only while bytes wait in it, so that thousands of idle connections cost
//! no buffers, and a busy one finds memory that is still in the cache.

use std::cell::RefCell;

use bytes::BytesMut;

/// The capacity of a buffer: four TLS records, and what a system call moves well.
pub const SIZE: usize = 64 << 10;

/// Buffers kept by a thread while nobody uses them.
const KEPT: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`SIZE`] bytes.
#[must_use]
pub fn take() -> BytesMut {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// Takes a buffer back, whatever is in it. One that something still points into is let go.
pub fn give(mut buffer: BytesMut) {
    buffer.clear();
    // One that had to grow, for a large head, is not kept for the small ones that follow.
    if buffer.try_reclaim(SIZE) && buffer.capacity() <= 2 * SIZE {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(buffer);
            }
        });
    }
}

/// Gives the memory of an empty buffer back; one with bytes in it is left alone.
pub fn release(buffer: &mut BytesMut) {
    // Not asked for its capacity: one that was used to its last byte has none left, and all of its
    // memory.
    if buffer.is_empty() {
        give(std::mem::take(buffer));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_something_points_into_it() {
        let mut buffer = take();
        buffer.extend_from_slice(b"abc");
        let place = buffer.as_ptr();
        give(buffer);
        let mut again = take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= SIZE);

        again.extend_from_slice(b"abcdef");
        let held = again.split_to(3).freeze();
        give(again);
        assert_ne!(take().as_ptr(), place);
        assert_eq!(&held[..], b"abc");
    }

    #[test]
    fn a_buffer_that_has_grown_does_not_come_back() {
        let mut grown = take();
        grown.reserve(3 * SIZE);
        give(grown);
        assert!(take().capacity() <= 2 * SIZE);
    }

    #[test]
    fn a_buffer_that_was_used_to_its_last_byte_comes_back() {
        let mut buffer = take();
        let place = buffer.as_ptr();
        buffer.resize(buffer.capacity(), 0);
        buffer.advance(buffer.len());
        release(&mut buffer);
        assert_eq!(take().as_ptr(), place);
    }

    #[test]
    fn bytes_that_wait_are_not_given_back() {
        let mut buffer = take();
        buffer.extend_from_slice(b"abc");
        release(&mut buffer);
        assert_eq!(&buffer[..], b"abc");
        buffer.clear();
        release(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
    }
}
