//! Accounts and API tokens: [`Directory`] over the same store.

use super::engine::{Engine, Family};
use super::txn::decode;
use super::{KvMetadata, after};
use crate::auth::account::{Account, AccountName};
use crate::auth::directory::{Answer, Directory, DirectoryError};
use crate::auth::token::{ApiToken, TokenId};
use crate::metadata::Error;
use serde::Serialize;

fn failed(error: Error) -> DirectoryError {
    DirectoryError::new(error)
}

impl<E: Engine> KvMetadata<E> {
    async fn insert(
        &self,
        family: Family,
        key: Vec<u8>,
        row: impl Serialize + Send + 'static,
        replace: bool,
    ) -> Result<bool, DirectoryError> {
        let operation = move |txn: &mut super::Txn<'_>| {
            let fits = txn.has(family, &key)? == replace;
            if fits {
                txn.put_row(family, key, &row);
            }
            Ok(fits)
        };
        self.write(operation).await.map_err(failed)
    }

    async fn remove(&self, family: Family, key: Vec<u8>) -> Result<bool, DirectoryError> {
        let operation = move |txn: &mut super::Txn<'_>| {
            let there = txn.has(family, &key)?;
            txn.delete(family, key);
            Ok(there)
        };
        self.write(operation).await.map_err(failed)
    }
}

impl<E: Engine> Directory for KvMetadata<E> {
    fn account<'a>(&'a self, name: &'a AccountName) -> Answer<'a, Option<Account>> {
        Box::pin(async move {
            self.row(Family::Account, name.as_str().as_bytes())
                .map_err(failed)
        })
    }

    fn accounts<'a>(
        &'a self,
        from: Option<&'a AccountName>,
        limit: usize,
    ) -> Answer<'a, Vec<Account>> {
        Box::pin(async move {
            let from = from
                .map(|name| after(name.as_str().into()))
                .unwrap_or_default();
            self.list(Family::Account, b"", &from, limit, |_, value| {
                decode(Family::Account, value).map(Some)
            })
            .map_err(failed)
        })
    }

    fn insert_account(&self, account: Account) -> Answer<'_, bool> {
        Box::pin(async move {
            self.insert(
                Family::Account,
                account.name.as_str().into(),
                account,
                false,
            )
            .await
        })
    }

    fn replace_account(&self, account: Account) -> Answer<'_, bool> {
        Box::pin(async move {
            self.insert(Family::Account, account.name.as_str().into(), account, true)
                .await
        })
    }

    fn remove_account<'a>(&'a self, name: &'a AccountName) -> Answer<'a, bool> {
        Box::pin(async move { self.remove(Family::Account, name.as_str().into()).await })
    }

    fn token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, Option<ApiToken>> {
        Box::pin(async move {
            self.row(Family::Token, id.as_str().as_bytes())
                .map_err(failed)
        })
    }

    fn tokens<'a>(
        &'a self,
        owner: Option<&'a AccountName>,
        from: Option<&'a TokenId>,
        limit: usize,
    ) -> Answer<'a, Vec<ApiToken>> {
        Box::pin(async move {
            let from = from.map(|id| after(id.as_str().into())).unwrap_or_default();
            let read = |_: &[u8], value: &[u8]| {
                let token: ApiToken = decode(Family::Token, value)?;
                Ok(owner
                    .is_none_or(|owner| token.owner == *owner)
                    .then_some(token))
            };
            self.list(Family::Token, b"", &from, limit, read)
                .map_err(failed)
        })
    }

    fn insert_token(&self, token: ApiToken) -> Answer<'_, bool> {
        Box::pin(async move {
            self.insert(Family::Token, token.id.as_str().into(), token, false)
                .await
        })
    }

    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool> {
        Box::pin(async move { self.remove(Family::Token, id.as_str().into()).await })
    }
}
