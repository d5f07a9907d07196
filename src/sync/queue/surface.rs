//! The methods that the queues share, written once: rustdoc shows them on each.

/// Gives a queue that has a field `store` its methods. `$name` is the name, for the examples;
/// `$order` says who comes out first.
macro_rules! queue_surface {
    ($Queue:ident<T $(: $Bound:ident)?>, $name:literal, $Order:ident) => {
        impl<T $(: $Bound)?> $Queue<T> {
            /// A queue without a bound: a put never waits for room.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::new();")]
            /// queue.put("item").unwrap();
            /// assert_eq!(queue.get(), Ok("item"));
            /// ```
            pub fn new() -> $Queue<T> {
                $Queue { store: Store::new(UNBOUNDED) }
            }

            /// A queue with room for `bound` items: who puts one more waits for room.
            ///
            /// Nothing is allocated for them in advance. A queue with a bound of 0 takes nothing
            /// until it is [resized](Self::resize); for handing over from one to the other, see
            /// [`Channel`](crate::sync::Channel).
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::bounded(1);")]
            /// queue.put(1).unwrap();
            /// assert!(queue.is_full());
            /// assert_eq!(queue.try_put(2).unwrap_err().into_inner(), 2);
            /// ```
            pub fn bounded(bound: usize) -> $Queue<T> {
                $Queue { store: Store::new(bound) }
            }

            /// Puts an item, when there is room for it.
            ///
            /// # Examples
            /// ```
            /// use std::sync::Arc;
            #[doc = concat!("let queue = Arc::new(greenroom::sync::", $name, "::bounded(1));")]
            /// let theirs = Arc::clone(&queue);
            /// let producer = greenroom::spawn(move || (0..3).all(|n| theirs.put(n).is_ok()));
            /// assert_eq!([queue.get(), queue.get(), queue.get()], [Ok(0), Ok(1), Ok(2)]);
            /// assert!(producer.join().unwrap());
            /// ```
            ///
            /// # Errors
            /// When the queue is closed, also meanwhile: the item comes back.
            ///
            /// # Panics
            /// In the root, when nothing is left that could make room ("this operation would
            /// block forever").
            ///
            /// # Parks
            /// While the queue is full; who came earlier is served first. Also when it is not, it
            /// lets others run now and then. A kill or a timeout unwinds, and the item, which has
            /// not been put then, is dropped.
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                self.put_in(item, Patience::Endless).map_err(PutError::new)
            }

            /// Puts an item if there is room for it now.
            ///
            /// # Errors
            /// When there is not, or the queue is closed: the item comes back.
            ///
            /// # Parks
            /// Never waits; [now and then](crate::sync#polling) it lets others run.
            #[inline]
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                self.put_in(item, Patience::None).map_err(TryPutError::new)
            }

            /// As [`put`](Self::put), for at most `limit`.
            ///
            /// # Errors
            /// When there was no room in time, or the queue is closed: the item comes back.
            ///
            /// # Panics
            /// As [`put`](Self::put), when `limit` is so long that it lies beyond the end of the
            /// clock.
            ///
            /// # Parks
            /// As [`put`](Self::put), and no longer than `limit`.
            pub fn put_timeout(&self, item: T, limit: Duration) -> Result<(), PutTimeoutError<T>> {
                self.put_in(item, Patience::of(limit)).map_err(PutTimeoutError::new)
            }

            /// Takes the next item, when there is one.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::from_iter([7]);")]
            /// queue.close();
            /// assert_eq!(queue.get(), Ok(7));
            /// assert!(queue.get().is_err());
            /// ```
            ///
            /// # Errors
            /// When the queue is closed and empty, also meanwhile.
            ///
            /// # Panics
            /// In the root, when nothing is left that could put an item. From within what a
            /// [`peek_with`](Self::peek_with) of the same queue calls.
            ///
            /// # Parks
            /// Until there is an item; who came earlier is served first. It lets others run now
            /// and then also if there always is one. A kill or a timeout unwinds and takes
            /// nothing.
            pub fn get(&self) -> Result<T, GetError> {
                self.get_out(Patience::Endless).map_err(GetError::new)
            }

            /// Takes the next item, if there is one now that is not kept for somebody who waited.
            ///
            /// # Errors
            /// When there is none; whether there may be one later is told by the error.
            ///
            /// # Panics
            /// As [`get`](Self::get), from within.
            ///
            /// # Parks
            /// Never waits for an item; [now and then](crate::sync#polling) it lets others run.
            /// While another is in the middle of a
            /// [`peek_with`](Self::peek_with), or of comparing the items of a priority queue,
            /// until that is over.
            #[inline]
            pub fn try_get(&self) -> Result<T, TryGetError> {
                self.get_out(Patience::None).map_err(TryGetError::new)
            }

            /// As [`get`](Self::get), for at most `limit`.
            ///
            /// # Errors
            /// When there was nothing in time, or the queue is closed and empty.
            ///
            /// # Panics
            /// As [`get`](Self::get); in the root, when `limit` is so long that it lies beyond
            /// the end of the clock.
            ///
            /// # Parks
            /// As [`get`](Self::get), and no longer than `limit`. What is there when the time is
            /// up is taken.
            pub fn get_timeout(&self, limit: Duration) -> Result<T, GetTimeoutError> {
                self.get_out(Patience::of(limit)).map_err(GetTimeoutError::new)
            }

            /// Calls `look` with the item that [`get`](Self::get) would return, and leaves it
            /// where it is.
            ///
            /// No lock is held meanwhile: others may put, and who wants an item waits until
            /// `look` is over.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::from_iter([\"next\"]);")]
            /// assert_eq!(queue.peek_with(|item| item.len()), Ok(4));
            /// assert_eq!(queue.len(), 1);
            /// ```
            ///
            /// # Errors
            /// When the queue is closed and empty, also meanwhile.
            ///
            /// # Panics
            /// As [`get`](Self::get), and when `look` panics: nothing is lost then.
            ///
            /// # Parks
            /// As [`get`](Self::get), and as `look` does.
            pub fn peek_with<R>(&self, look: impl FnOnce(&T) -> R) -> Result<R, GetError> {
                cancel::let_others_run();
                self.store.peek(Patience::Endless, look).map_err(GetError::new)
            }

            /// A copy of the item that [`get`](Self::get) would return.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::from_iter([7]);")]
            /// assert_eq!(queue.peek(), queue.get());
            /// ```
            ///
            /// # Errors
            /// # Panics
            /// # Parks
            /// As [`peek_with`](Self::peek_with).
            pub fn peek(&self) -> Result<T, GetError>
            where
                T: Clone,
            {
                self.peek_with(T::clone)
            }

            /// A copy of the item that [`try_get`](Self::try_get) would return.
            ///
            /// # Errors
            /// # Panics
            /// # Parks
            /// As [`try_get`](Self::try_get).
            pub fn try_peek(&self) -> Result<T, TryGetError>
            where
                T: Clone,
            {
                cancel::let_others_run();
                self.store.peek(Patience::None, T::clone).map_err(TryGetError::new)
            }

            /// As [`peek`](Self::peek), for at most `limit`.
            ///
            /// # Errors
            /// # Panics
            /// # Parks
            /// As [`get_timeout`](Self::get_timeout).
            pub fn peek_timeout(&self, limit: Duration) -> Result<T, GetTimeoutError>
            where
                T: Clone,
            {
                cancel::let_others_run();
                let patience = Patience::of(limit);
                self.store.peek(patience, T::clone).map_err(GetTimeoutError::new)
            }

            /// Takes one item after the other, until the queue is closed and empty.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::from_iter([1, 1]);")]
            /// queue.close();
            /// assert_eq!(queue.iter().sum::<i32>(), 2);
            /// ```
            ///
            /// # Parks
            /// The iteration does, as [`get`](Self::get).
            pub fn iter(&self) -> QueueIter<'_, $Queue<T>> {
                QueueIter::new(self)
            }

            /// Takes one item after the other, until there is none.
            ///
            /// # Parks
            /// The iteration does, as [`try_get`](Self::try_get).
            pub fn try_iter(&self) -> QueueTryIter<'_, $Queue<T>> {
                QueueTryIter::new(self)
            }

            /// Number of items, those included that are kept for who has been woken for them.
            pub fn len(&self) -> usize {
                self.store.len()
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether a [`try_put`](Self::try_put) would find no room.
            pub fn is_full(&self) -> bool {
                self.store.is_full()
            }

            /// The bound; `None` for a queue without.
            pub fn capacity(&self) -> Option<usize> {
                Some(self.store.bound()).filter(|bound| *bound != UNBOUNDED)
            }

            /// Changes the bound; `None` takes it away. Who waits for room that is there now is
            /// woken. Nothing is thrown out of a queue that becomes too small: it takes nothing
            /// until enough has been got.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::bounded(0);")]
            /// assert!(queue.try_put(1).is_err());
            /// queue.resize(1);
            /// assert!(queue.try_put(1).is_ok());
            /// queue.resize(None);
            /// assert_eq!(queue.capacity(), None);
            /// ```
            ///
            /// # Parks
            /// Never.
            pub fn resize(&self, bound: impl Into<Option<usize>>) {
                self.store.resize(bound.into().unwrap_or(UNBOUNDED));
            }

            /// Closes the queue: puts fail from now on, those that wait as well; gets take what
            /// is left, and fail then.
            ///
            /// # Parks
            /// Never.
            pub fn close(&self) {
                self.store.close();
            }

            /// Closes the queue; if `immediate`, also takes out what is left and returns it.
            ///
            /// What another looks at in that moment (see [`peek_with`](Self::peek_with)) is not
            /// returned, but dropped when he has done.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::from_iter([7]);")]
            /// assert_eq!(queue.shutdown(false), []);
            /// assert_eq!(queue.shutdown(true), [7]);
            /// assert!(queue.get().is_err() && queue.put(8).is_err());
            /// ```
            ///
            /// # Parks
            /// Never.
            pub fn shutdown(&self, immediate: bool) -> Vec<T> {
                if immediate {
                    return self.store.drain();
                }
                self.close();
                Vec::new()
            }

            /// Whether the queue is closed; there may be items left.
            pub fn is_closed(&self) -> bool {
                self.store.is_closed()
            }

            /// The room in this queue, to be [waited for](crate::wait_any) among other things.
            /// The queue itself is ready when it has an item.
            ///
            /// # Examples
            /// See [`Room`].
            pub fn room(&self) -> Room<'_, $Queue<T>> {
                Room::new(self)
            }

            /// Two ends of this queue, each of which can be cloned: when the last [`Putter`] is
            /// dropped the queue is closed, when the last [`Getter`] is, what is left is dropped
            /// as well.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let queue = greenroom::sync::", $name, "::new();")]
            /// let (putter, getter) = queue.into_ends();
            /// putter.put("last").unwrap();
            /// drop(putter);
            /// assert_eq!(getter.get(), Ok("last"));
            /// assert!(getter.get().is_err());
            /// ```
            pub fn into_ends(self) -> (Putter<$Queue<T>>, Getter<$Queue<T>>) {
                ends(self)
            }
        }

        impl<T $(: $Bound)?> Access for $Queue<T> {
            type Item = T;

            fn put_in(&self, item: T, patience: Patience) -> Result<(), (Refusal, T)> {
                cancel::let_others_run();
                self.store.put(item, patience)
            }

            fn get_out(&self, patience: Patience) -> Result<T, Refusal> {
                cancel::let_others_run();
                self.store.get(patience)
            }

            fn end(&self) {
                self.store.close();
            }

            fn end_now(&self) -> Vec<T> {
                self.store.drain()
            }

            fn watch<'a>(&'a self, side: Side, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
                self.store.watch(side, ready)
            }
        }

        impl<T $(: $Bound)?> AnyQueue for $Queue<T> {}

        impl<T $(: $Bound)?> Subscribe for $Queue<T> {
            fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
                self.store.watch(Side::Items, ready)
            }
        }

        /// Ready when a get would not have to wait; nothing is taken.
        impl<T $(: $Bound)?> Waitable for $Queue<T> {}

        impl<T $(: $Bound)?> Default for $Queue<T> {
            fn default() -> $Queue<T> {
                $Queue::new()
            }
        }

        impl<T $(: $Bound)?> FromIterator<T> for $Queue<T> {
            /// A queue without a bound that has those items.
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> $Queue<T> {
                let queue = $Queue::new();
                for item in items {
                    let put = queue.try_put(item);
                    debug_assert!(put.is_ok(), "nobody else can have closed it");
                }
                queue
            }
        }

        impl<'a, T $(: $Bound)?> IntoIterator for &'a $Queue<T> {
            type Item = T;
            type IntoIter = QueueIter<'a, $Queue<T>>;

            fn into_iter(self) -> QueueIter<'a, $Queue<T>> {
                self.iter()
            }
        }

        impl<T $(: $Bound)?> fmt::Debug for $Queue<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (getters, putters) = self.store.waiting();
                f.debug_struct($name)
                    .field("len", &self.len())
                    .field("capacity", &self.capacity())
                    .field("closed", &self.is_closed())
                    .field("getters", &getters)
                    .field("putters", &putters)
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use queue_surface;
