-- The read model of both programs, in a database of their own: each customer's orders and their total.
-- An event may come again, so its stream and version are kept beside the totals, in the same transaction.
create table if not exists applied (stream text primary key, version bigint not null);
create table if not exists totals (customer text primary key, orders bigint not null, total numeric not null);

create or replace function apply(the_stream text, the_version bigint, type text, data jsonb) returns void language plpgsql as $$
begin
  insert into applied values (the_stream, 0) on conflict do nothing;
  update applied set version = the_version where stream = the_stream and version = the_version - 1;
  if not found then
    if the_version > (select version from applied where stream = the_stream) then
      raise exception '%: version % came before the one that follows the last', the_stream, the_version;
    end if;  -- else it was applied before
  elsif type = 'OrderPlaced' then
    insert into totals as t values (data->>'customer', 1, (data->>'total')::numeric)
      on conflict (customer) do update set orders = t.orders + 1, total = t.total + excluded.total;
  end if;
end $$;
