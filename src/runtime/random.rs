//! What nobody can guess.

/// Bytes from the kernel.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(N), "the kernel has random bytes for seeds");
    bytes
}

/// A number from the kernel.
pub fn number() -> u64 {
    u64::from_le_bytes(bytes())
}
