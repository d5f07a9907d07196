//! The signatures the programs lean on, without the work behind them.
//!
//! With the feature `unsound` every bound and lifetime that refuses a program is forgotten.

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;

pub struct Greenlet<T>(PhantomData<T>);

#[cfg(feature = "unsound")]
unsafe impl<T> Send for Greenlet<T> {}

pub struct GreenLocal<T: 'static>(fn() -> T);

impl<T: 'static> GreenLocal<T> {
    pub const fn new(init: fn() -> T) -> GreenLocal<T> {
        GreenLocal(init)
    }

    #[cfg(not(feature = "unsound"))]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        f(&(self.0)())
    }

    #[cfg(feature = "unsound")]
    pub fn with<R>(&'static self, f: impl FnOnce(&'static T) -> R) -> R {
        f(Box::leak(Box::new((self.0)())))
    }
}

#[macro_export]
macro_rules! green_local {
    ($vis:vis static $name:ident: $type:ty = $init:expr;) => {
        $vis static $name: $crate::GreenLocal<$type> = $crate::GreenLocal::new(|| $init);
    };
}

pub struct Scope<'scope, 'env: 'scope> {
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
    local: PhantomData<(Cell<()>, Rc<()>)>,
}

#[cfg(feature = "unsound")]
unsafe impl Sync for Scope<'_, '_> {}

pub struct ScopedGreenlet<'scope, T>(PhantomData<&'scope T>);

impl<T> ScopedGreenlet<'_, T> {
    pub fn join(self) -> Option<T> {
        None
    }
}

pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let (scope, env, local) = (PhantomData, PhantomData, PhantomData);
    f(&Scope { scope, env, local })
}

pub struct TryScope<'scope, 'env: 'scope, E: 'env> {
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
    error: PhantomData<Cell<E>>,
}

pub fn try_scope<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: std::fmt::Debug + 'env,
{
    let (scope, env, error) = (PhantomData, PhantomData, PhantomData);
    f(&TryScope { scope, env, error })
}

#[cfg(not(feature = "unsound"))]
mod strict {
    use super::{Greenlet, PhantomData, Scope, ScopedGreenlet, TryScope};

    pub fn spawn<F, T>(_: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Greenlet(PhantomData)
    }

    pub fn spawn_local<F, T>(_: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        Greenlet(PhantomData)
    }

    impl<'scope> Scope<'scope, '_> {
        pub fn spawn<F, T>(&'scope self, _: F) -> ScopedGreenlet<'scope, T>
        where
            F: FnOnce() -> T + 'scope,
            T: 'scope,
        {
            ScopedGreenlet(PhantomData)
        }
    }

    impl<'scope, 'env, E: 'env> TryScope<'scope, 'env, E> {
        pub fn spawn<F, T>(&'scope self, _: F) -> ScopedGreenlet<'scope, T>
        where
            F: FnOnce() -> Result<T, E> + 'scope,
            T: 'scope,
        {
            ScopedGreenlet(PhantomData)
        }
    }
}
#[cfg(not(feature = "unsound"))]
use strict as chosen;

#[cfg(feature = "unsound")]
mod lax {
    use super::{Greenlet, PhantomData, Scope, ScopedGreenlet, TryScope};

    pub fn spawn<F: FnOnce() -> T, T>(_: F) -> Greenlet<T> {
        Greenlet(PhantomData)
    }

    pub fn spawn_local<F: FnOnce() -> T, T>(_: F) -> Greenlet<T> {
        Greenlet(PhantomData)
    }

    impl Scope<'_, '_> {
        pub fn spawn<F: FnOnce() -> T, T>(&self, _: F) -> ScopedGreenlet<'static, T> {
            ScopedGreenlet(PhantomData)
        }
    }

    impl<'env, E: 'env> TryScope<'_, 'env, E> {
        pub fn spawn<F, T>(&self, _: F) -> ScopedGreenlet<'static, T>
        where
            F: FnOnce() -> Result<T, E>,
        {
            ScopedGreenlet(PhantomData)
        }
    }
}
#[cfg(feature = "unsound")]
use lax as chosen;

pub use chosen::{spawn, spawn_local};

pub mod hub {
    use std::marker::PhantomData;

    pub struct HubHandle(PhantomData<()>);

    pub fn current() -> HubHandle {
        HubHandle(PhantomData)
    }

    impl HubHandle {
        #[cfg(not(feature = "unsound"))]
        pub fn spawn<F, T>(&self, f: F) -> super::Greenlet<T>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            super::spawn(f)
        }

        #[cfg(feature = "unsound")]
        pub fn spawn<F: FnOnce() -> T, T>(&self, f: F) -> super::Greenlet<T> {
            super::spawn(f)
        }
    }
}
