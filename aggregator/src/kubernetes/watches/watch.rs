//! The objects of one kind, kept at hand (IO).
//!
//! `kube`'s watchers and reflectors do the work: they list, watch, resume where a watch was cut, list again where it cannot be
//! resumed, and wait longer from one failure to the next. A store changes when a list is complete, never in between, so that
//! an API server that is away changes nothing.

use std::{
    error::Error,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{
    Api, Resource,
    api::ListParams,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef as Named, Store, reflector, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_stream::StreamExt as _;

use crate::causes::with_causes;

/// How often it is looked whether an API server that was away is back.
const LOOK: Duration = Duration::from_secs(5);
/// The answer to a watch that is too old to be resumed.
const TOO_OLD: u16 = 410;
/// The answer where there is no such kind.
const NO_SUCH_KIND: u16 = 404;
/// The answers to one who may not watch.
const REFUSED: [u16; 2] = [401, 403];
/// What was seen last stands for this long when an API server that is there refuses to tell more: longer than it takes to renew a
/// token or to apply a Role anew. One that is away changes nothing that could be missed, as nothing can be written either.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// How a watch fares.
#[derive(Debug, Default)]
struct State {
    is_listed: bool,
    /// What went wrong last, until it is well again.
    error: Option<String>,
    /// There is no such kind, or not in this version.
    is_gone: bool,
    /// Since when it is refused.
    refused: Option<Instant>,
    /// It is refused for so long that what was seen last is too old.
    is_stale: bool,
}

impl State {
    fn listed(&self) -> Option<Result<(), String>> {
        if self.is_listed && !self.is_stale { Some(Ok(())) } else { self.error.clone().map(Err) }
    }
}

/// The objects of one kind in one namespace, or in all.
pub(super) struct Watch<K: Resource + 'static>
where
    K::DynamicType: Eq + Hash + Clone,
{
    store: Store<K>,
    kind: K::DynamicType,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Send + Sync,
{
    pub(super) fn start(
        api: Api<K>,
        (what, kind): (&'static str, K::DynamicType),
        strip: fn(&mut K),
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let writer = Writer::new(kind.clone());
        let (store, state) = (writer.as_reader(), Arc::default());
        let progress = Progress { what, state: Arc::clone(&state), changed: Arc::clone(changed) };
        let task = tasks.spawn(run(api, strip, writer, progress));
        Watch { store, kind, state, task }
    }

    /// As they were last seen.
    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// One of them.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&Named::new_with(name, self.kind.clone()).within(namespace))
    }

    pub(super) fn kind(&self) -> &K::DynamicType {
        &self.kind
    }

    /// Whether there is no such kind, or not in this version.
    pub(super) fn is_gone(&self) -> bool {
        lock(&self.state).is_gone
    }

    /// Whether all of it was listed once, and may be watched; or why not. `None`: not yet.
    pub(super) fn listed(&self) -> Option<Result<(), String>> {
        lock(&self.state).listed()
    }

    /// Whether all of it was listed, and nothing went wrong since.
    pub(super) fn is_current(&self) -> bool {
        let state = lock(&self.state);
        state.is_listed && state.error.is_none()
    }
}

impl<K: Resource + 'static> Drop for Watch<K>
where
    K::DynamicType: Eq + Hash + Clone,
{
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a watch tells.
struct Progress {
    what: &'static str,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Progress {
    fn went_on(&self, is_complete: bool) {
        let mut state = lock(&self.state);
        state.is_listed |= is_complete;
        let was_away = state.error.take().is_some();
        (state.is_gone, state.is_stale, state.refused) = (false, false, None);
        drop(state);
        if was_away {
            tracing::info!("{} are watched again", self.what);
        }
        self.changed.notify_one();
    }

    fn failed(&self, error: &watcher::Error) {
        let (what, why) = (self.what, cause(error));
        let mut state = lock(&self.state);
        let is_news = state.error.replace(why.clone()).is_none();
        state.is_gone = code(error) == Some(NO_SUCH_KIND);
        let is_refused = code(error).is_some_and(|code| REFUSED.contains(&code));
        let since = if is_refused { *state.refused.get_or_insert_with(Instant::now) } else { Instant::now() };
        state.is_stale |= since.elapsed() >= REFUSED_FOR;
        let is_other = state.is_gone || state.is_stale;
        drop(state);
        if is_other {
            self.changed.notify_one();
        }
        if is_news {
            tracing::warn!("{what} cannot be watched: {why}; what was seen last stands until they are");
            self.changed.notify_one();
        }
    }

    fn is_away(&self) -> bool {
        lock(&self.state).error.is_some()
    }
}

async fn run<K>(api: Api<K>, strip: fn(&mut K), writer: Writer<K>, progress: Progress)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let events = watcher(api.clone(), watcher::Config::default()).default_backoff().modify(strip);
    let mut events = std::pin::pin!(reflector(writer, events));
    loop {
        let next = match progress.is_away() {
            false => events.next().await,
            // A watch that was resumed is silent until something happens.
            true => match tokio::time::timeout(LOOK, events.next()).await {
                Ok(next) => next,
                Err(_) => {
                    if api.list_metadata(&ListParams::default().limit(1)).await.is_ok() {
                        progress.went_on(false);
                    }
                    continue;
                }
            },
        };
        match next {
            Some(Ok(watcher::Event::Init | watcher::Event::InitApply(_))) => {}
            Some(Ok(watcher::Event::InitDone)) => progress.went_on(true),
            Some(Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_))) => progress.went_on(false),
            // The server told that the watch is too old: it is begun anew, which is no trouble.
            Some(Err(watcher::Error::WatchError(status))) if status.code == TOO_OLD => {}
            Some(Err(error)) => progress.failed(&error),
            None => return,
        }
    }
}

/// The HTTP status of an answer that is an error.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// What an error comes of: `kube`'s own text says only at which step.
fn cause(error: &watcher::Error) -> String {
    if code(error) == Some(NO_SUCH_KIND) {
        return "the API server does not serve them, or not in this version any more (404): are the CRDs installed?"
            .to_owned();
    }
    match error {
        watcher::Error::WatchError(status) => format!("{} ({})", status.message, status.code),
        watcher::Error::InitialListFailed(why)
        | watcher::Error::WatchStartFailed(why)
        | watcher::Error::WatchFailed(why) => chain(why),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// An error with those that it comes of, each of which says only its own part.
pub(in crate::kubernetes) fn chain(error: &(dyn Error + 'static)) -> String {
    // Its own text has the whole answer as Rust would write it.
    if let Some(kube::Error::Api(answer)) = error.downcast_ref() {
        return format!("{} ({})", answer.message, answer.code);
    }
    with_causes(error)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16) -> watcher::Error {
        let status = Status::failure("no", "no").with_code(code);
        watcher::Error::WatchFailed(kube::Error::Api(Box::new(status)))
    }

    /// The Role was taken away while it ran: what pods were like an hour ago decides nothing.
    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_long_is_not_believed_any_more() {
        let progress = Progress { what: "pods", state: Arc::default(), changed: Arc::default() };
        let listed = || lock(&progress.state).listed();
        assert_eq!(listed(), None);
        progress.went_on(true);
        for (code, is_stale) in [(403, true), (401, true), (503, false), (410, false)] {
            progress.failed(&answered(code));
            tokio::time::advance(Duration::from_secs(59)).await;
            progress.failed(&answered(code));
            assert_eq!(listed(), Some(Ok(())), "{code}");
            tokio::time::advance(Duration::from_secs(1)).await;
            progress.failed(&answered(code));
            assert_eq!(listed(), Some(if is_stale { Err(format!("no ({code})")) } else { Ok(()) }), "{code}");
            progress.went_on(false);
            assert_eq!(listed(), Some(Ok(())), "it is well again");
        }
    }

    /// As for a kind whose CRD is not installed, and for one that the Role does not allow.
    #[test]
    fn what_the_api_server_says_is_told_in_its_words() {
        let says = |message: &str, reason: &str, code| {
            let status = Status::failure(message, reason).with_code(code);
            cause(&watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status))))
        };
        let unknown = says("404 page not found", "Failed to parse error data", 404);
        assert!(unknown.ends_with("(404): are the CRDs installed?"), "{unknown}");
        assert_eq!(says("pods is forbidden", "Forbidden", 403), "pods is forbidden (403)");
    }
}
