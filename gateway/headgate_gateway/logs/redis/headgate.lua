#!lua name=headgate_@VERSION@

-- The functions that Headgate runs in Redis. They compare and write, and know no protocol rule.
-- A stream is three keys of one hash slot, always given in this order:
--   1 meta       hash: v "stream_id.version", s the state as JSON, r the history in which and the
--                process by which they were written, f the first position that is kept, if it is
--                not 0, p and a producer's id: its state as JSON; for each gateway that wrote, w
--                and its name: the tokens of its last commits, the latest first; g these names.
--                v and s are empty when the stream was removed
--   2 records    stream: an entry START-HISTORY for the records of a commit, the first of which
--                begins at START; their bytes in d and, if they are several, their lengths in n
--   3 retired    string: "GENERATION v GATEWAY TOKEN" of the stream removed last from this path
-- The meta key is also the name of the channel on which the stream's changes are published.
--
-- A call is a transaction in the append-only file. When a crash tears the last one in the midst of
-- a command, Redis forgets what is there of it at its next start, but leaves that in the file; the
-- start after that carries it out, before what was written in between. So what was never answered
-- may come true late, as far as it was written, and must do no harm:
--   - What a commit does to a stream is done by its last command, a single HSET. An entry that was
--     added before begins at the tail, past which nobody reads; the next commit begins there, too,
--     and its entry has a later history, so that it is added behind the other, and the one that counts.
--     The history is later whatever the clock says, as each stream was written the one before it: no
--     commit stands in a history that no earlier call has put into r.
--   - Nothing is destroyed by a commit: what it leaves over is taken away by calls of their own.
--   - What is in meta is put in its place once more when it is first looked at in a history, so
--     that nothing comes between what was seen then and what follows it.
--   - That, and a creation, are two commands at least: the end of their transaction ends a torn one,
--     too, or all single commands up to it would be forgotten with it.

-- The history of this process, which history.lua has begun: see `begin`.
local history
local process -- the beginning of run_id

-- seen is a field r: the history in which a stream was written, and in which process.
-- A later one of another process says that this one was a replica meanwhile: its history is over,
-- although nothing else told it. A later one of this process was begun for that reason by another
-- version of this library: it becomes ours, too.
local function current_history(seen)
  if history == nil then
    error({err = 'NOHISTORY these functions were loaded without the history of this process'})
  end
  local later, writer = string.match(seen or '', '^(%d+) ?(%x*)$')
  if later and tonumber(later) > tonumber(history) then
    if writer == process then
      history = later
    else
      local time = redis.call('TIME')
      local now = time[1] * 1000000 + time[2]
      if now <= tonumber(later) then
        -- This server's clock is behind: later than what was seen all the same, but not so much later
        -- as another server would be that saw the same.
        now = later + 1 + time[2]
      end
      history = string.format('%.0f', now)
    end
  end
  return history
end

-- Returns the history, and what r is under it; seen is the stream's.
local function history_of(seen)
  local now = current_history(seen)
  return now, now .. ' ' .. process
end

-- Returns the history, in which the stream has been looked at then.
local function look(meta, seen)
  local now, ours = history_of(seen)
  if seen and seen ~= ours then
    redis.call('RESTORE', meta, 0, redis.call('DUMP', meta), 'REPLACE')
    redis.call('HSET', meta, 'r', ours)
  end
  return now
end

local MOST_FIELDS = 128 -- told with a conflict; more are left to be loaded

local function standing(keys)
  local fields = false
  if redis.call('HLEN', keys[1]) <= MOST_FIELDS then
    fields = redis.call('HGETALL', keys[1])
  end
  return {fields, redis.call('GET', keys[3])}
end

local MOST_WRITERS = 64 -- processes that are restarted leave their names behind

-- The gateways that wrote, with one more; the oldest are forgotten.
local function writers(meta, name, known)
  local names, count = name, 1
  for other in string.gmatch(known or '', '%S+') do
    count = count + 1
    if count <= MOST_WRITERS then
      names = names .. ' ' .. other
    else
      redis.call('HDEL', meta, 'w' .. other)
    end
  end
  return names
end

-- Written once more, so that replicas can be waited for.
local function repeated(keys, gateway, tokens, seconds)
  if tokens then
    redis.call('HSET', keys[1], 'w' .. gateway, tokens)
  else
    redis.call('EXPIRE', keys[3], seconds)
  end
  return {1}
end

local LISTS = 16 -- argument of the lists

-- KEYS   those of one stream
-- ARGV    1 history      in which the change was decided
--         2 removals   the channel on which removals are published too, as "v META"
--         3 gateway    its name
--         4 expected   the v that must stand, '' when no stream may
--         5 v, 6 token what stands afterwards
--         7 s          the state, '' to remove the stream
--         8 message    to be published on the stream's channel
--         9 first      position before which nothing is kept any more, '' for all of it
--        10 generation, 11 seconds  of a removed stream, and for how long it is remembered
--        12 gone       '1' when nothing that is kept of the stream may be given out any more, else ''
--        13 START, 14 bytes, 15 lengths  of the records: no START for none, no lengths for one
--        16 set        how many words: field and value of each producer that changed
--        ... forgotten the fields of producers
-- A stream that was removed is not created again by the call that created it.
-- Returns {1} when everything was written, now or by an earlier call with these arguments, and
--        {1, 1} when it leaves something over, else {0, history, {fields of meta or nil, retired or nil}}
local function commit(keys, argv)
  local meta, records, retired = unpack(keys)
  local asked, removals, gateway, expected, v, token, s, message, first, generation, seconds,
    gone, start, data, lengths = unpack(argv, 1, LISTS - 1)
  local found = redis.call('HMGET', meta, 'v', 'r', 'w' .. gateway, 'g', 'f')
  local stood, seen, tokens, names, kept = found[1] or '', found[2], found[3], found[4], found[5]
  local tombstone = table.concat({generation, v, gateway, token}, ' ')
  local kind = redis.call('TYPE', records).ok
  if kind ~= 'stream' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE a key of the stream holds the wrong kind of value')
  end
  if not redis.acl_check_cmd('HSET', meta, 'v', '') then
    return redis.error_reply('NOPERM no right to run hset on ' .. meta)
  end
  if s == '' and stood == '' then
    if redis.call('GET', retired) == tombstone then
      return repeated(keys, gateway, false, seconds)
    end
  elseif (' ' .. (tokens or '') .. ' '):find(' ' .. token .. ' ', 1, true) then
    return repeated(keys, gateway, tokens, seconds)
  end
  local now, ours = history_of(seen)
  local stands = stood == expected and asked == now and (stood == '' or seen == ours)
  if stands and stood == '' then
    -- Also false when this very commit was carried out before, and what it created removed since.
    local last = string.match(redis.call('GET', retired) or '', '^%d+')
    stands = not last or tonumber(last) < tonumber(generation)
  end
  if not stands then
    return {0, look(meta, seen), standing(keys)}
  end

  if expected == '' then
    redis.call('HSET', meta, 'r', ours) -- else the next was not in the file where nothing is there
    redis.call('UNLINK', meta, records)
    tokens, names, kept = false, false, false
  end
  if s == '' then
    redis.call('SET', retired, tombstone, 'EX', seconds)
    redis.call('HSET', meta, 'v', '', 's', '')
  else
    local written = {'v', v, 'r', ours, 's', s, 'w' .. gateway,
      token .. ' ' .. (tokens or ''):match('^%S* ?%S* ?%S*')}
    local function write(field, value)
      written[#written + 1] = field
      written[#written + 1] = value
    end
    if not tokens then
      write('g', writers(meta, gateway, names))
    end
    if first ~= '' then
      write('f', first)
    end
    local rest = LISTS + 1 + argv[LISTS]
    for i = LISTS + 1, rest - 1, 2 do
      write(argv[i], argv[i + 1])
    end
    for i = rest, #argv do
      redis.call('HDEL', meta, argv[i])
    end
    if start ~= '' then
      local several = lengths ~= '' and {'n', lengths} or {}
      redis.call('XADD', records, start .. '-' .. asked, 'd', data, unpack(several))
    end
    redis.call('HSET', meta, unpack(written))
  end
  redis.pcall('SPUBLISH', meta, message) -- what is written stays, whoever may not publish
  if gone ~= '' then
    redis.pcall('PUBLISH', removals, expected .. ' ' .. meta)
  end
  if s == '' or first ~= (kept or '') then
    return {1, 1}
  end
  return {1}
end

-- KEYS   those of one stream
-- Returns {history, fields of meta, retired or nil}
local function load(keys)
  local now = look(keys[1], redis.call('HGET', keys[1], 'r'))
  return {now, redis.call('HGETALL', keys[1]), redis.call('GET', keys[3])}
end

-- KEYS   the meta key of one stream
-- Returns {history, v or nil}: whether a remembered state is the present one
local function confirm(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 'v')
  return {current_history(meta[1]), meta[2]}
end

-- KEYS   the meta key of one stream
-- Returns {history, s or nil}: the stream, without its producers; s is empty when it was removed
local function state(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 's')
  return {current_history(meta[1]), meta[2]}
end

-- Twins of load, confirm and state, for a server that takes no writes: it lacks replicas or cannot
-- write to its disk, and Redis refuses each function that might write. The twins write nothing, so a
-- stream that was not looked at in this history waits. Redis lets a replica run them, too, which
-- would return what is old: they refuse there themselves.

-- seen is the field r of a stream. Returns the history, in which the stream was looked at before.
local function looked_at(seen)
  if string.match(redis.call('INFO', 'replication'), 'role:(%a+)') ~= 'master' then
    error({err = 'READONLY this server is a replica'})
  end
  local now, ours = current_history()
  if not seen then
    return now
  end
  if string.match(seen, ' (%x+)$') == process then -- else it would begin a history
    now, ours = history_of(seen)
  end
  if seen ~= ours then
    error({err = 'UNSEEN this stream was not looked at in this history'})
  end
  return now
end

local function load_ro(keys)
  local now = looked_at(redis.call('HGET', keys[1], 'r'))
  return {now, redis.call('HGETALL', keys[1]), redis.call('GET', keys[3])}
end

local function confirm_ro(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 'v')
  return {looked_at(meta[1]), meta[2]}
end

-- Without a key it returns the history alone.
local function state_ro(keys)
  local meta = keys[1] and redis.call('HMGET', keys[1], 'r', 's') or {}
  return {looked_at(meta[1]), meta[2]}
end

-- KEYS   meta and records of one stream
-- Takes away the records that are kept no longer.
local function trim(keys)
  local first = redis.call('HGET', keys[1], 'f')
  -- A copy from another log has entries of many records, so the first may be inside one.
  local entry = first and redis.call('XREVRANGE', keys[2], first, '-', 'COUNT', '1')[1]
  return entry and redis.call('XTRIM', keys[2], 'MINID', '~', entry[1])
end

-- KEYS   meta and records of a stream that was removed
local function purge(keys)
  local found = redis.call('HMGET', keys[1], 'v', 'r')
  return found[2] and (found[1] or '') == '' and redis.call('UNLINK', keys[1], keys[2])
end

-- ARGV    1 history, 2 replication   as the function of history.lua returned them just now
-- Returns the history: a later one where this library has seen that the other is over.
local function begin(_, argv)
  if history == nil then
    local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
    if replication ~= argv[2] then -- a full resync has come between: the other has begun anew, too
      return redis.error_reply('NOHISTORY this server was a replica meanwhile')
    end
    process = string.match(redis.call('INFO', 'server'), 'run_id:(%x%x%x%x%x%x%x%x)')
    history = argv[1]
  end
  return history
end

-- ARGV   the prefix of keys and channels
-- Returns the history. Like a commit it is refused by a server that takes no writes, and of a user
--        who may not do what a gateway does.
local function probe(_, argv)
  local key, index, gone = argv[1] .. ':{}', argv[1] .. ':deadlines', argv[1] .. ':gone'
  local needed = {
    {'xadd', key, '*', 'd', ''}, {'xtrim', key, 'MAXLEN', '0'}, {'type', key},
    {'hset', key, 'v', ''}, {'hdel', key, 'v'}, {'hmget', key, 'v'}, {'hgetall', key}, {'hget', key, 'r'},
    {'hlen', key}, {'unlink', key}, {'dump', key},
    {'restore', key, '0', ''}, {'get', key}, {'set', key, ''},
    {'expire', key, '1'}, {'xrange', key, '-', '+'}, {'xrevrange', key, '+', '-'},
    {'zadd', index, '0', ''}, {'zrem', index, ''}, {'zrangebyscore', index, '0', '0'},
    {'spublish', key, ''}, {'ssubscribe', key}, {'publish', gone, ''}, {'subscribe', gone},
  }
  for _, words in ipairs(needed) do
    if not redis.acl_check_cmd(unpack(words)) then
      return redis.error_reply('NOPERM no right to run ' .. words[1] .. ' on ' .. argv[1] .. ':*')
    end
  end
  return current_history()
end

-- Documents are three keys of one hash slot, always given in this order:
--   1 bodies     hash: each document by its name
--   2 names      sorted set of the names, all with one score, so that they sort as text
--   3 owner      string: "NUMBER NAME" of the gateway that may write; without a name after it resigned

-- KEYS   those of the documents
-- ARGV    1 owner      what must stand in the third key, '' for whatever does
--         2 set        how many words: name and body of each document that is stored
--         ... removed  the names of documents
-- Returns 1, or 0 if another owner stands.
local function write_documents(keys, argv)
  local bodies, names, owner = unpack(keys)
  if argv[1] ~= '' and redis.call('GET', owner) ~= argv[1] then
    return 0
  end
  local rest = 3 + argv[2]
  for i = 3, rest - 1, 2 do
    redis.call('ZADD', names, '0', argv[i])
    redis.call('HSET', bodies, argv[i], argv[i + 1])
  end
  for i = rest, #argv do
    redis.call('ZREM', names, argv[i])
    redis.call('HDEL', bodies, argv[i])
  end
  return 1
end

-- KEYS   the owner of the documents
-- ARGV    1 expected   what stands, '' for nothing
--         2 owner      what is to stand
-- Returns 1, or 0 if something else stands.
local function own_documents(keys, argv)
  local stands = redis.call('GET', keys[1]) or ''
  if stands ~= argv[2] then -- else this call is sent again
    if stands ~= argv[1] then
      return 0
    end
    redis.call('SET', keys[1], argv[2])
  end
  return 1
end

-- What frees memory, or takes none, goes on when there is none left.
local CALM = {'allow-oom'}

redis.register_function{function_name = 'headgate_begin_@VERSION@', callback = begin, flags = CALM}
redis.register_function('headgate_commit_@VERSION@', commit)
redis.register_function('headgate_probe_@VERSION@', probe)
redis.register_function{
  function_name = 'headgate_settle_@VERSION@', callback = commit, flags = CALM}
redis.register_function{function_name = 'headgate_load_@VERSION@', callback = load, flags = CALM}
redis.register_function{function_name = 'headgate_trim_@VERSION@', callback = trim, flags = CALM}
redis.register_function{function_name = 'headgate_purge_@VERSION@', callback = purge, flags = CALM}
redis.register_function{
  function_name = 'headgate_confirm_@VERSION@', callback = confirm, flags = CALM}
redis.register_function{function_name = 'headgate_state_@VERSION@', callback = state, flags = CALM}
redis.register_function{
  function_name = 'headgate_load_ro_@VERSION@', callback = load_ro, flags = {'no-writes'}}
redis.register_function{
  function_name = 'headgate_confirm_ro_@VERSION@', callback = confirm_ro, flags = {'no-writes'}}
redis.register_function{
  function_name = 'headgate_state_ro_@VERSION@', callback = state_ro, flags = {'no-writes'}}
redis.register_function('headgate_write_documents_@VERSION@', write_documents)
redis.register_function{
  function_name = 'headgate_own_documents_@VERSION@', callback = own_documents, flags = CALM}
