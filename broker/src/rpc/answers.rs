//! What a stream has to say to its client: a bounded queue, and a last word that needs no room in it.
//!
//! [`Answers::send`] waits for room, so HTTP/2's flow control holds the node back. A client that does not read is let go after a while, and learns why when it
//! reads again; what waited for it is freed at once. A stream that ends for a reason of rights leaves nothing behind that could still go out.

use std::{
    any::Any,
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::Status;

/// Answers of one stream that wait to be written to the socket, at most.
const WAITING_MAX: usize = 4;

/// What is kept until an answer has left, so that it is counted for as long as it takes memory.
pub(super) type Keep = Option<Box<dyn Any + Send + Sync>>;

/// Why an answer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// No room came in time.
    Unread,
    /// Nobody reads any more.
    Gone,
}

/// Where a stream's task puts its answers. Dropping it ends the stream without a status, after what waits.
#[derive(Debug)]
pub(super) struct Answers<T>(Arc<Shared<T>>);

/// What tonic reads them from. It asks for the next answer when the connection has room again, and that is when the one before has left but for a last piece.
#[derive(Debug)]
pub struct AnswerStream<T> {
    shared: Arc<Shared<T>>,
    leaving: Keep,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    room: Notify,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, Keep)>,
    end: End,
    reader: Option<Waker>,
}

#[derive(Debug)]
enum End {
    /// More may come.
    Open,
    /// After what waits.
    Ended(Option<Status>),
    /// The reader is gone.
    Gone,
}

/// A queue and its reader.
pub(super) fn queue<T>() -> (Answers<T>, AnswerStream<T>) {
    let state = State { waiting: VecDeque::with_capacity(WAITING_MAX), end: End::Open, reader: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), room: Notify::new() });
    (Answers(shared.clone()), AnswerStream { shared, leaving: None })
}

impl<T> Answers<T> {
    /// Adds an answer as soon as there is room.
    pub(super) async fn send(&self, answer: T, patience: Duration) -> Result<(), Unsent> {
        self.send_keeping(answer, None, patience).await
    }

    /// The same, with what is kept until the answer has left.
    pub(super) async fn send_keeping(&self, answer: T, keep: Keep, patience: Duration) -> Result<(), Unsent> {
        tokio::time::timeout(patience, self.room()).await.map_err(|_| Unsent::Unread)??;
        let mut state = self.0.state.lock();
        state.waiting.push_back((answer, keep));
        state.wake();
        Ok(())
    }

    /// Ends the stream with a status after what waits.
    pub(super) fn finish(self, status: Status) {
        self.0.state.lock().end(Some(status));
    }

    /// Ends the stream with a status instead of what waits.
    pub(super) fn cut(self, status: Status) {
        let mut state = self.0.state.lock();
        state.waiting = VecDeque::new();
        state.end(Some(status));
    }

    /// There is one sender, so room that was found stays.
    async fn room(&self) -> Result<(), Unsent> {
        loop {
            {
                let state = self.0.state.lock();
                if matches!(state.end, End::Gone) {
                    return Err(Unsent::Gone);
                }
                if state.waiting.len() < WAITING_MAX {
                    return Ok(());
                }
            }
            self.0.room.notified().await;
        }
    }
}

impl<T> Drop for Answers<T> {
    fn drop(&mut self) {
        self.0.state.lock().end(None);
    }
}

impl<T> State<T> {
    /// The first end counts.
    fn end(&mut self, status: Option<Status>) {
        if matches!(self.end, End::Open) {
            self.end = End::Ended(status);
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl<T> Stream for AnswerStream<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.leaving = None;
        let mut state = this.shared.state.lock();
        if let Some((answer, keep)) = state.waiting.pop_front() {
            this.leaving = keep;
            this.shared.room.notify_one();
            return Poll::Ready(Some(Ok(answer)));
        }
        match &mut state.end {
            End::Open => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
            End::Ended(status) => Poll::Ready(status.take().map(Err)),
            End::Gone => Poll::Ready(None),
        }
    }
}

impl<T> Drop for AnswerStream<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.waiting = VecDeque::new();
        state.end = End::Gone;
        self.shared.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn full() -> (Answers<usize>, AnswerStream<usize>) {
        let (answers, stream) = queue();
        for number in 0..WAITING_MAX {
            answers.send(number, PATIENCE).await.expect("room");
        }
        (answers, stream)
    }

    async fn read(stream: AnswerStream<usize>) -> Vec<Result<usize, String>> {
        stream.map(|answer| answer.map_err(|status| status.message().to_owned())).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_holds_the_sender_until_somebody_reads_or_patience_ends() {
        let (answers, mut stream) = full().await;
        assert_eq!(answers.send(9, PATIENCE).await, Err(Unsent::Unread));
        let mut sending = Box::pin(answers.send(4, PATIENCE));
        assert!((&mut sending).now_or_never().is_none());
        assert!(matches!(stream.next().await, Some(Ok(0))));
        sending.await.expect("room");
        drop(answers);
        assert_eq!(read(stream).await, [Ok(1), Ok(2), Ok(3), Ok(4)]);
    }

    #[tokio::test]
    async fn the_last_word_needs_no_room() {
        let (answers, stream) = full().await;
        answers.finish(Status::unavailable("why"));
        assert_eq!(read(stream).await, [Ok(0), Ok(1), Ok(2), Ok(3), Err("why".to_owned())]);
        let (answers, stream) = full().await;
        answers.cut(Status::unavailable("why"));
        assert!(stream.shared.state.lock().waiting.capacity() == 0, "what waited is freed");
        assert_eq!(read(stream).await, [Err("why".to_owned())]);
    }

    #[tokio::test]
    async fn what_is_kept_for_an_answer_goes_when_the_next_one_is_asked_for() {
        let (answers, mut stream) = queue();
        let kept = Arc::new(());
        for number in 0..2 {
            answers.send_keeping(number, Some(Box::new(kept.clone())), PATIENCE).await.expect("room");
        }
        assert!(matches!(stream.next().await, Some(Ok(0))));
        assert_eq!(Arc::strong_count(&kept), 3, "the first has not left yet");
        assert!(matches!(stream.next().await, Some(Ok(1))));
        assert_eq!(Arc::strong_count(&kept), 2);
        answers.cut(Status::unavailable("why"));
        assert_eq!(read(stream).await, [Err("why".to_owned())]);
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[tokio::test]
    async fn a_reader_that_waits_learns_of_answers_and_of_the_end() {
        let (answers, stream) = queue();
        let mut reading = Box::pin(read(stream));
        assert!((&mut reading).now_or_never().is_none());
        let ((), told) = tokio::join!(
            async {
                answers.send(1, PATIENCE).await.expect("room");
                tokio::task::yield_now().await;
                answers.finish(Status::unavailable("why"));
            },
            tokio::time::timeout(PATIENCE, reading)
        );
        assert_eq!(told.expect("it was woken"), [Ok(1), Err("why".to_owned())]);
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_told_to_the_sender() {
        let (answers, stream) = full().await;
        let mut sending = Box::pin(answers.send(4, PATIENCE));
        assert!((&mut sending).now_or_never().is_none());
        drop(stream);
        assert_eq!(sending.await, Err(Unsent::Gone));
        assert_eq!(answers.send(5, PATIENCE).await, Err(Unsent::Gone));
    }
}
