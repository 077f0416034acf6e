//! Numbers and counted bytes as they stand in records: LEB128 (PROTOCOL.md §9.1).

use bytes::BufMut;

use super::frame_error::FrameError;

/// Longest encoding of a number, in bytes.
pub(super) const VARINT_BYTES: usize = 10;

pub(super) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// How long the encoding of a number is, in bytes.
pub(super) const fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The lower seven bits of each byte, one after the other.
const fn compact(word: u64) -> u64 {
    let word = word & 0x7f7f_7f7f_7f7f_7f7f;
    let word = (word & 0x7f00_7f00_7f00_7f00) >> 1 | word & 0x007f_007f_007f_007f;
    let word = (word & 0x3fff_0000_3fff_0000) >> 2 | word & 0x0000_3fff_0000_3fff;
    (word & 0x0fff_ffff_0000_0000) >> 4 | word & 0x0000_0000_0fff_ffff
}

/// Spreads a number of 56 bits: seven to each byte.
const fn spread(value: u64) -> u64 {
    let word = value & 0x0000_0000_0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let word = word & 0x0000_3fff_0000_3fff | (word & 0x0fff_c000_0fff_c000) << 2;
    word & 0x007f_007f_007f_007f | (word & 0x3f80_3f80_3f80_3f80) << 1
}

/// Writes a number at a place of a buffer that has room for the longest. Tells where it ends.
#[inline]
pub(super) fn write_varint(out: &mut [u8], at: usize, value: u64) -> usize {
    if value < 0x80 {
        out[at] = value as u8;
        return at + 1;
    }
    write_long(out, at, value)
}

fn write_long(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    let len = varint_len(value);
    if let Some(room) = out.get_mut(at..at + 8)
        && len <= 8
    {
        let ends = (1_u64 << (8 * (len - 1))) - 1;
        room.copy_from_slice(&(spread(value) | 0x8080_8080_8080_8080 & ends).to_le_bytes());
        return at + len;
    }
    while value >= 0x80 {
        out[at] = (value as u8) | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// Reads numbers and counted bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, FrameError> {
        let (&byte, rest) = self.rest.split_first().ok_or(FrameError::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, FrameError> {
        match self.rest {
            // Most numbers are small.
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok((*byte).into())
            }
            [b0, b1, rest @ ..] if *b1 < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*b0 & 0x7f) | u64::from(*b1) << 7)
            }
            _ => self.large_varint(),
        }
    }

    fn large_varint(&mut self) -> Result<u64, FrameError> {
        let word = match self.rest {
            [b0, b1, b2, b3, b4, b5, b6, b7, ..] => {
                u64::from_le_bytes([*b0, *b1, *b2, *b3, *b4, *b5, *b6, *b7])
            }
            // At the end of a frame, where lone samples stand. Two halves meet or overlap.
            rest if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) => {
                let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
                let bits = 8 * rest.len() as u32;
                first | last << (bits - 32) | u64::MAX << bits
            }
            _ => return self.long_varint(),
        };
        let ends = !word & 0x8080_8080_8080_8080;
        if ends == 0 {
            return self.long_varint();
        }
        let len = ends.trailing_zeros() / 8 + 1;
        self.rest = &self.rest[len as usize..];
        Ok(compact(word & (u64::MAX >> (64 - 8 * len))))
    }

    fn long_varint(&mut self) -> Result<u64, FrameError> {
        let mut value = 0_u64;
        for (place, byte) in self.rest.iter().enumerate().take(VARINT_BYTES) {
            let low = u64::from(byte & 0x7f);
            if place == VARINT_BYTES - 1 && low > 1 {
                return Err(FrameError::Number);
            }
            value |= low << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() >= VARINT_BYTES {
            FrameError::Number
        } else {
            FrameError::Truncated
        })
    }

    #[inline]
    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Result<T, FrameError> {
        T::try_from(self.varint()?).map_err(|_| FrameError::Number)
    }

    /// As many bytes as the number in front of them says.
    #[inline]
    pub(super) fn counted(&mut self) -> Result<&'a [u8], FrameError> {
        let len = self.number::<usize>()?;
        let (counted, rest) = self.rest.split_at_checked(len).ok_or(FrameError::Truncated)?;
        self.rest = rest;
        Ok(counted)
    }

    #[inline]
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, FrameError> {
        core::str::from_utf8(self.counted()?).map_err(|_| FrameError::Invalid(what))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_as_they_were_written() {
        for bits in 0..64 {
            for value in [1_u64 << bits, (1_u64 << bits) - 1, u64::MAX >> bits] {
                for after in 0..9 {
                    let mut bytes = Vec::new();
                    put_varint(&mut bytes, value);
                    assert_eq!(bytes.len(), varint_len(value));
                    let mut written = [0; VARINT_BYTES];
                    assert_eq!(write_varint(&mut written, 0, value), bytes.len());
                    assert_eq!(written[..bytes.len()], bytes);
                    bytes.extend(core::iter::repeat_n(0xff, after));
                    let mut reader = Reader::new(&bytes);
                    assert_eq!(reader.varint(), Ok(value));
                    assert_eq!(reader.rest().len(), after);
                }
            }
        }
    }

    #[test]
    fn numbers_without_an_end_are_refused() {
        assert_eq!(Reader::new(&[0xff; 9]).varint(), Err(FrameError::Truncated));
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(FrameError::Number));
        assert_eq!(Reader::new(&[]).varint(), Err(FrameError::Truncated));
    }
}
