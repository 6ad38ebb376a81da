//! Work that would block a core, on threads of its own.

/// Runs `job` on a thread of glommio's blocking pool and hands its result to
/// `done` on this core.
pub fn run<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
    done: impl FnOnce(T) + 'static,
) {
    glommio::spawn_local(async move { done(glommio::executor().spawn_blocking(job).await) })
        .detach();
}
