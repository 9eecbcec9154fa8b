//! Accounts and API tokens: [`Directory`] over the same store.
//!
//! Invariant: a token is kept together with a row by which its owner's are found, and both go together. A start makes that
//! row for tokens of builds that had none.

use super::engine::{Changes, Engine, Family};
use super::txn::{Txn, decode};
use super::{KvMetadata, after};
use crate::auth::account::{Account, AccountName};
use crate::auth::directory::{
    AccountChange, Answer, Asker, Directory, DirectoryError, NewToken, NotKept, Unchanged, Wish,
};
use crate::auth::token::{ApiToken, TokenId};
use crate::metadata::Error;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Before owner 0 id, among the server's own values: nothing is kept there, the key says it.
const OWNED: &[u8] = b"owned/";
/// Before the name of an account of the file, there as well.
const IN_FILE: &[u8] = b"file/";
/// Name of the server value that says that the file was noted before.
const FILE_NOTED: &[u8] = b"file-noted";
/// Tokens that are read at once.
const PAGE: usize = 1000;

/// What is known of an account of the file.
#[derive(Serialize, Deserialize)]
struct FileRow {
    mark: String,
    since: Timestamp,
}

fn failed(error: Error) -> DirectoryError {
    DirectoryError::new(error)
}

fn account_key(name: &AccountName) -> Vec<u8> {
    name.as_str().into()
}

fn file_key(name: &str) -> Vec<u8> {
    [IN_FILE, name.as_bytes()].concat()
}

/// No name of an account holds a zero byte, so a zero ends it.
fn owned_by(owner: &AccountName) -> Vec<u8> {
    [OWNED, owner.as_str().as_bytes(), &[0]].concat()
}

fn owned_key(owner: &AccountName, id: &TokenId) -> Vec<u8> {
    [owned_by(owner).as_slice(), id.as_str().as_bytes()].concat()
}

fn account_in(txn: &Txn<'_>, name: &AccountName) -> Result<Option<Account>, Error> {
    txn.row(Family::Account, name.as_str().as_bytes())
}

/// Since when an account has had that name, wherever it is kept.
fn known_since(txn: &Txn<'_>, name: &AccountName) -> Result<Option<Timestamp>, Error> {
    if let Some(account) = account_in(txn, name)? {
        return Ok(Some(account.created_at));
    }
    let row: Option<FileRow> = txn.row(Family::Server, &file_key(name.as_str()))?;
    Ok(row.map(|row| row.since))
}

fn delete_token(txn: &mut Txn<'_>, owner: &AccountName, id: &[u8]) {
    txn.delete(Family::Server, [owned_by(owner).as_slice(), id].concat());
    txn.delete(Family::Token, id.to_vec());
}

fn end_tokens(txn: &mut Txn<'_>, owner: &AccountName) -> Result<(), Error> {
    let prefix = owned_by(owner);
    for key in txn.keys(Family::Server, &prefix)? {
        delete_token(txn, owner, &key[prefix.len()..]);
    }
    Ok(())
}

fn insert_account(
    txn: &mut Txn<'_>,
    account: &Account,
    by: Option<&Asker>,
) -> Result<Result<(), Unchanged>, Error> {
    if let Some(by) = by
        && !by.administers(account_in(txn, &by.name)?.as_ref(), account.created_at)
    {
        return Ok(Err(Unchanged::AskerGone));
    }
    let key = account_key(&account.name);
    if txn.has(Family::Account, &key)? {
        return Ok(Err(Unchanged::NameTaken));
    }
    end_tokens(txn, &account.name)?;
    txn.put_row(Family::Account, key, account);
    Ok(Ok(()))
}

fn change_account(
    txn: &mut Txn<'_>,
    change: &AccountChange,
) -> Result<Result<Account, Unchanged>, Error> {
    let found = account_in(txn, &change.name)?;
    let asker = account_in(txn, &change.by.name)?;
    let account = match change.apply(found, asker.as_ref()) {
        Ok(account) => account,
        Err(unchanged) => return Ok(Err(unchanged)),
    };
    let key = account_key(&change.name);
    if change.wish != Wish::Removed {
        txn.put_row(Family::Account, key, &account);
        return Ok(Ok(account));
    }
    txn.delete(Family::Account, key);
    end_tokens(txn, &change.name)?;
    let in_file = file_key(change.name.as_str());
    if let Some(row) = txn.row::<FileRow>(Family::Server, &in_file)? {
        let since = change.now;
        txn.put_row(Family::Server, in_file, &FileRow { since, ..row });
    }
    Ok(Ok(account))
}

fn note_file(
    txn: &mut Txn<'_>,
    file: &BTreeMap<AccountName, String>,
    now: Timestamp,
) -> Result<(), Error> {
    for key in txn.keys(Family::Server, IN_FILE)? {
        let name = std::str::from_utf8(&key[IN_FILE.len()..]).unwrap_or_default();
        if !file.contains_key(name) {
            txn.delete(Family::Server, key);
        }
    }
    // Builds before this noted nothing. Nothing says that an account is another one than then, so its tokens stay.
    let is_first = !txn.has(Family::Server, FILE_NOTED)?;
    txn.put(Family::Server, FILE_NOTED.to_vec(), b"1".to_vec());
    for (name, mark) in file {
        let key = file_key(name.as_str());
        let before: Option<FileRow> = txn.row(Family::Server, &key)?;
        if before.is_some_and(|row| row.mark == *mark) {
            continue;
        }
        let since = match is_first {
            true => Timestamp::UNIX_EPOCH,
            false => now,
        };
        let row = FileRow {
            mark: mark.clone(),
            since,
        };
        txn.put_row(Family::Server, key, &row);
        if is_first {
            continue;
        }
        // If there is an account in the directory as well, they are that one's.
        if !txn.has(Family::Account, name.as_str().as_bytes())? {
            end_tokens(txn, name)?;
        }
    }
    sweep_tokens(txn, now)
}

/// Removes tokens that nobody can use any more, and makes sure that the others are found by their owner.
fn sweep_tokens(txn: &mut Txn<'_>, now: Timestamp) -> Result<(), Error> {
    let (mut from, mut removed) = (Vec::<u8>::new(), 0_u64);
    loop {
        let page = txn.scan(Family::Token, b"", &from, PAGE)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        from = after(last.clone());
        for (id, value) in page {
            let found = decode::<ApiToken>(Family::Token, &value)
                .and_then(|token| Ok((known_since(&*txn, &token.owner)?, token)));
            let (since, token) = match found {
                Ok(found) => found,
                // It proves nothing as it is; a start does not fail for it.
                Err(error) => {
                    tracing::error!(%error, "an api token or its owner cannot be read; it stays");
                    continue;
                }
            };
            let has_owner = since.is_some_and(|since| since <= token.created_at);
            if !has_owner || !token.is_active(now) {
                delete_token(txn, &token.owner, &id);
                removed += 1;
                continue;
            }
            let key = owned_key(&token.owner, &token.id);
            if !txn.has(Family::Server, &key)? {
                txn.put(Family::Server, key, Vec::new());
            }
        }
    }
    if removed > 0 {
        tracing::warn!(
            tokens = removed,
            "removed api tokens that have expired or whose owner is gone"
        );
    }
    Ok(())
}

fn insert_token(txn: &mut Txn<'_>, new: &NewToken) -> Result<Result<(), NotKept>, Error> {
    let (token, now) = (&new.token, new.now);
    let owner = account_in(txn, &token.owner)?;
    let shut_out = owner.is_some_and(|owner| !owner.is_active(now));
    if shut_out || known_since(txn, &token.owner)? != Some(new.owner_since) {
        return Ok(Err(NotKept::OwnerGone));
    }
    let id: Vec<u8> = token.id.as_str().into();
    if txn.has(Family::Token, &id)? {
        return Ok(Err(NotKept::IdTaken));
    }
    let prefix = owned_by(&token.owner);
    let mut kept = 0;
    for key in txn.keys(Family::Server, &prefix)? {
        let other = &key[prefix.len()..];
        let row: Option<ApiToken> = txn.row(Family::Token, other)?;
        if row.is_some_and(|row| row.is_active(now)) {
            kept += 1;
        } else {
            delete_token(txn, &token.owner, other);
        }
    }
    if kept >= new.most {
        return Ok(Err(NotKept::TooMany));
    }
    txn.put(
        Family::Server,
        owned_key(&token.owner, &token.id),
        Vec::new(),
    );
    txn.put_row(Family::Token, id, token);
    Ok(Ok(()))
}

fn tokens_of(
    txn: &Txn<'_>,
    owner: &AccountName,
    from: Option<&TokenId>,
    limit: usize,
) -> Result<Vec<ApiToken>, Error> {
    let prefix = owned_by(owner);
    let from = from.map_or_else(|| prefix.clone(), |id| after(owned_key(owner, id)));
    let mut found = Vec::new();
    for (key, _) in txn.scan(Family::Server, &prefix, &from, limit)? {
        // What was removed since the scan is not there any more.
        found.extend(txn.row::<ApiToken>(Family::Token, &key[prefix.len()..])?);
    }
    Ok(found)
}

fn all_tokens(txn: &Txn<'_>, from: Option<&TokenId>, limit: usize) -> Result<Vec<ApiToken>, Error> {
    let from = from.map(|id| after(id.as_str().into())).unwrap_or_default();
    let page = txn.scan(Family::Token, b"", &from, limit)?;
    page.iter()
        .map(|(_, value)| decode(Family::Token, value))
        .collect()
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

    fn insert_account(
        &self,
        account: Account,
        by: Option<Asker>,
    ) -> Answer<'_, Result<(), Unchanged>> {
        Box::pin(async move {
            self.write(move |txn| insert_account(txn, &account, by.as_ref()))
                .await
                .map_err(failed)
        })
    }

    fn replace_account(&self, account: Account) -> Answer<'_, bool> {
        Box::pin(async move {
            let operation = move |txn: &mut Txn<'_>| {
                let key = account_key(&account.name);
                let there = txn.has(Family::Account, &key)?;
                if there {
                    end_tokens(txn, &account.name)?;
                    txn.put_row(Family::Account, key, &account);
                }
                Ok(there)
            };
            self.write(operation).await.map_err(failed)
        })
    }

    fn change_account(&self, change: AccountChange) -> Answer<'_, Result<Account, Unchanged>> {
        Box::pin(async move {
            self.write(move |txn| change_account(txn, &change))
                .await
                .map_err(failed)
        })
    }

    fn note_file(&self, file: BTreeMap<AccountName, String>, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(move |txn| note_file(txn, &file, now))
                .await
                .map_err(failed)
        })
    }

    fn in_file_since<'a>(&'a self, name: &'a AccountName) -> Answer<'a, Option<Timestamp>> {
        Box::pin(async move {
            let row: Option<FileRow> = self
                .row(Family::Server, &file_key(name.as_str()))
                .map_err(failed)?;
            Ok(row.map(|row| row.since))
        })
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
            // A page is up to some megabytes of JSON: no work for a thread that answers requests.
            let (engine, owner, from) = (self.engine.clone(), owner.cloned(), from.cloned());
            let read = tokio::task::spawn_blocking(move || {
                let nothing = Changes::new();
                let txn = Txn::new(&*engine, &nothing);
                match &owner {
                    Some(owner) => tokens_of(&txn, owner, from.as_ref(), limit),
                    None => all_tokens(&txn, from.as_ref(), limit),
                }
            });
            read.await.map_err(DirectoryError::new)?.map_err(failed)
        })
    }

    fn insert_token(&self, new: NewToken) -> Answer<'_, Result<(), NotKept>> {
        Box::pin(async move {
            self.write(move |txn| insert_token(txn, &new))
                .await
                .map_err(failed)
        })
    }

    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool> {
        let id = id.clone();
        Box::pin(async move {
            let operation = move |txn: &mut Txn<'_>| {
                let key = id.as_str().as_bytes();
                let found: Option<ApiToken> = txn.row(Family::Token, key)?;
                if let Some(token) = &found {
                    delete_token(txn, &token.owner, key);
                }
                Ok(found.is_some())
            };
            self.write(operation).await.map_err(failed)
        })
    }
}
