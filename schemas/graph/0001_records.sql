-- The records of one generation, in the schema that search_path names. A name has one index to be found by, so that
-- there is nothing to choose for a server that does not know the tables yet.
--
-- Texts a sender wrote freely are bytea: they may hold any character, and a text of Postgres none with the value zero.
-- The views show them as text. rev is the value of the TID plus one, 0 without one; times are microseconds since 1970;
-- choices are positions in the lists the views repeat. A removed record keeps its row without content.

create function as_text(bytes bytea) returns text language plpgsql immutable strict parallel safe as $$
begin
    return convert_from(bytes, 'UTF8');
exception when others then
    return encode(bytes, 'escape');
end $$;

create table relationship (
    tenant           integer not null,
    uri              text collate "C" not null,
    rev              bigint not null,
    sequence         bigint not null,
    version          bigint not null,
    removed          boolean not null,
    payload_hash     bytea not null,
    digest           bytea not null,
    payload          bytea,
    cid              bytea,
    participant_a    text collate "C",
    participant_b    text collate "C",
    type             bigint,
    strength         bigint,
    context          bytea,
    created_at       bigint,
    last_interaction bigint,
    visibility       bigint,
    primary key (uri, tenant)
);
create index relationship_participant_a on relationship (participant_a);
create index relationship_participant_b on relationship (participant_b);

create table attestation (
    tenant             integer not null,
    uri                text collate "C" not null,
    rev                bigint not null,
    sequence           bigint not null,
    version            bigint not null,
    removed            boolean not null,
    payload_hash       bytea not null,
    digest             bytea not null,
    payload            bytea,
    cid                bytea,
    attester           text collate "C",
    target             text collate "C",
    type               bigint,
    confidence         bigint,
    evidence           bytea,
    suggested_strength bigint,
    created_at         bigint,
    primary key (uri, tenant)
);
create index attestation_target on attestation (target);

create table entity (
    tenant       integer not null,
    uri          text collate "C" not null,
    rev          bigint not null,
    sequence     bigint not null,
    version      bigint not null,
    removed      boolean not null,
    payload_hash bytea not null,
    digest       bytea not null,
    payload      bytea,
    cid          bytea,
    display_name bytea,
    entity_type  bigint,
    bio          bytea,
    avatar_url   bytea,
    created_at   bigint,
    primary key (uri, tenant)
);

-- Repositories that were removed. What they held has no rows.
create table repository (
    tenant   integer not null,
    did      text collate "C" not null,
    rev      bigint not null,
    sequence bigint not null,
    version  bigint not null,
    digest   bytea not null,
    primary key (did, tenant)
);

-- How far in the log the records are, and which process may write them: the one that knows the newest epoch.
create table projection (
    only_row   boolean primary key default true check (only_row),
    epoch      bigint not null default 0,
    position   bytea not null default '',
    through    bigint not null default 0,
    updated_at timestamptz not null default now()
);
insert into projection default values;

-- What the transactions of one writer add up to, so that writers never wait for each other: the sum of the digests
-- modulo 2^128, and counts. Only the sums over all writers mean anything. commits tells a writer that lost its
-- connection whether its last transaction happened; a new era makes sure that it cannot happen later.
create table writer (
    number        integer primary key,
    epoch         bigint not null,
    era           bigint not null default 0,
    commits       bigint not null default 0,
    digest_low    bigint not null default 0,
    digest_high   bigint not null default 0,
    relationships bigint not null default 0,
    attestations  bigint not null default 0,
    entities      bigint not null default 0,
    tombstones    bigint not null default 0
) with (fillfactor = 20);

create view relationships as
    select tenant, split_part(uri, '/', 3) as did, uri, rev, sequence, removed, as_text(cid) as cid, participant_a,
        participant_b,
        (array['professional', 'personal', 'family', 'social', 'civic', 'educational'])[type + 1] as type, strength,
        as_text(context) as context, to_timestamp(created_at / 1e6) as created_at,
        to_timestamp(last_interaction / 1e6) as last_interaction,
        (array['public', 'network', 'private'])[visibility + 1] as visibility, as_text(payload) as payload
    from relationship;

create view attestations as
    select tenant, split_part(uri, '/', 3) as did, uri, rev, sequence, removed, as_text(cid) as cid, attester, target,
        (array['verify', 'dispute', 'strengthen', 'weaken'])[type + 1] as type, confidence,
        as_text(evidence) as evidence, suggested_strength, to_timestamp(created_at / 1e6) as created_at,
        as_text(payload) as payload
    from attestation;

create view entities as
    select tenant, split_part(uri, '/', 3) as did, uri, rev, sequence, removed, as_text(cid) as cid,
        as_text(display_name) as display_name,
        (array['person', 'organization', 'agent'])[entity_type + 1] as entity_type, as_text(bio) as bio,
        as_text(avatar_url) as avatar_url, to_timestamp(created_at / 1e6) as created_at, as_text(payload) as payload
    from entity;
