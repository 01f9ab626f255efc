#!lua name=headgate_@VERSION@

-- The functions that Headgate runs in Redis. They compare and write, and know no protocol rule.
-- A stream is three keys of one hash slot, always given in this order:
--   1 meta       hash: v "stream_id.version", s the state as JSON, r the reign under which and the
--                process by which they were written, f the first position that is kept, if it is
--                not 0, p and a producer's id: its state as JSON; for each gateway that wrote, w
--                and its name: the tokens of its last commits, the latest first; g these names.
--                v and s are empty when the stream was removed
--   2 records    stream: an entry START-REIGN for the records of a commit, the first of which
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
--     and its entry has a later reign, so that it is added behind the other, and the one that counts.
--   - Nothing is destroyed by a commit: what it leaves over is taken away by calls of their own.
--   - What is in meta is put in its place once more when it is first looked at under a reign, so
--     that nothing comes between what was seen then and what follows it.
--   - Each commit writes by two commands at least: the end of its transaction ends a torn one, too,
--     or all single commands up to it would be forgotten with it.

-- A number that no other history of this data has: it lives in the interpreter of this one process,
-- which begins anew when the process does, and when a full resync replaces what the process has.
local reign
local process -- the beginning of run_id

-- seen is a field r: the reign under which a stream was written, and in which process.
-- A later one of another process says that this one was a replica meanwhile: its reign is over,
-- although nothing else told it. A later one of this process is that of another version of this
-- library, which began after ours, and in the same history: it becomes ours, too.
local function current_reign(seen)
  local later, writer
  if reign == nil then
    process = string.match(redis.call('INFO', 'server'), 'run_id:(%x%x%x%x%x%x%x%x)')
  end
  if seen then
    later, writer = string.match(seen, '^(%d+) ?(%x*)$')
    if later and reign and tonumber(later) <= tonumber(reign) then
      later = nil
    end
  end
  if reign and later and writer == process then
    reign = later
  elseif reign == nil or later then
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    if later and now <= tonumber(later) then
      -- This server's clock is behind: later than what was seen all the same, but not so much later
      -- as another server would be that saw the same.
      now = later + 1 + time[2]
    end
    reign = string.format('%.0f', now)
  end
  return reign
end

local AT_ONCE = 1000 -- words of one command

-- Returns the reign. r is the stream's, as it was found.
local function looked_at(meta, r)
  local now = current_reign(r)
  local ours = now .. ' ' .. process
  if r and r ~= ours then
    local fields, copy = redis.call('HGETALL', meta), meta .. ':copy'
    redis.call('UNLINK', copy)
    for i = 1, #fields, AT_ONCE do
      redis.call('HSET', copy, unpack(fields, i, math.min(i + AT_ONCE - 1, #fields)))
    end
    redis.call('HSET', copy, 'r', ours)
    redis.call('RENAME', copy, meta)
  end
  return now
end

local MOST_FIELDS = 128 -- told with a conflict; more are left to be loaded

local function standing(keys, at)
  local fields = false
  if redis.call('HLEN', keys[at]) <= MOST_FIELDS then
    fields = redis.call('HGETALL', keys[at])
  end
  return {fields, redis.call('GET', keys[at + 2])}
end

local function holds(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

-- What changes in one stream, from ARGV[at] on:
--   expected  the v that must stand, '' when no stream may
--   v, token  what stands afterwards
--   s         the state, '' to remove the stream
--   message   to be published on the stream's channel
--   first     position before which nothing is kept any more, '' for all of it
--   generation, seconds  of a removed stream, and for how long it is remembered
--   gone      '1' when nothing that is kept of the stream may be given out any more, else ''
--   START, bytes, lengths  of the records: no START when there are none, no lengths for one
--   set       how many producers, then field and value of each
--   forgotten how many producers, then the field of each
local FIXED = 12
local MOST_WRITERS = 64 -- processes that are restarted leave their names behind

local function after(argv, at)
  at = at + FIXED
  at = at + 1 + 2 * argv[at]
  return at + 1 + argv[at]
end

-- What is left at the path of a stream that was removed.
local function grave(argv, at)
  return table.concat({argv[at + 6], argv[at + 1], argv[4], argv[at + 2]}, ' ')
end

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

-- Nothing is rolled back when a command fails, as for a right that was taken from the user: what
-- makes the commit one comes last.
local function apply(keys, key, argv, at, known)
  local meta, records, retired = keys[key], keys[key + 1], keys[key + 2]
  local v, token, s, first = argv[at + 1], argv[at + 2], argv[at + 3], argv[at + 5]
  if argv[at] == '' then
    redis.call('UNLINK', meta, records) -- if anything is left
  else
    looked_at(meta, known.r)
  end
  if s == '' then
    redis.call('SET', retired, grave(argv, at), 'EX', argv[at + 7])
    redis.call('HSET', meta, 'v', '', 's', '')
    return
  end
  local r = argv[1] .. ' ' .. process
  local written = {'v', v, 'r', r, 's', s, 'w' .. argv[4],
    token .. ' ' .. (known.tokens or ''):match('^%S* ?%S* ?%S*')}
  if not known.tokens then
    written[#written + 1] = 'g'
    written[#written + 1] = writers(meta, argv[4], known.writers)
  end
  if first ~= '' then
    written[#written + 1] = 'f'
    written[#written + 1] = first
  end
  local set = at + FIXED
  for i = set + 1, set + 2 * argv[set] do
    written[#written + 1] = argv[i]
  end
  local forgotten = set + 1 + 2 * argv[set]
  for i = forgotten + 1, forgotten + argv[forgotten] do
    redis.call('HDEL', meta, argv[i])
  end
  redis.call('HSET', meta, 'r', r)
  local start, data, lengths = argv[at + 9], argv[at + 10], argv[at + 11]
  if start ~= '' then
    local id = start .. '-' .. argv[1]
    if lengths == '' then
      redis.call('XADD', records, id, 'd', data)
    else
      redis.call('XADD', records, id, 'd', data, 'n', lengths)
    end
  end
  redis.call('HSET', meta, unpack(written))
end

local FIRST = 5 -- argument of the changes

-- KEYS   those of each stream that changes
-- ARGV   reign: under which the changes were decided; publish: PUBLISH or SPUBLISH; gone: the
--        channel on which removals are published too, as "v META"; the gateway's name; the changes
-- A stream that was removed is not created again by the call that created it.
-- Returns {1} when everything was written, now or by an earlier call with these arguments, else
--        {0, reign} and for the first stream {fields of meta or nil, retired or nil}.
local function commit(keys, argv)
  local stands, before, known = true, true, {}
  local at = FIRST
  for key = 1, #keys, 3 do
    local found = redis.call('HMGET', keys[key], 'v', 'r', 'w' .. argv[4], 'g')
    local v = found[1] or ''
    if not holds(keys[key + 1], 'stream') then
      return redis.error_reply('WRONGTYPE a key of the stream holds the wrong kind of value')
    end
    known[key] = {r = found[2], tokens = found[3], writers = found[4]}
    if argv[at + 3] == '' and v == '' then
      before = before and redis.call('GET', keys[key + 2]) == grave(argv, at)
    else
      before = before and (' ' .. (found[3] or '') .. ' '):find(' ' .. argv[at + 2] .. ' ', 1, true)
    end
    stands = stands and v == argv[at] and argv[1] == current_reign(found[2])
    if stands and v == '' then
      -- Also false when this very commit was carried out before, and what it created removed since.
      local last = string.match(redis.call('GET', keys[key + 2]) or '', '^%d+')
      stands = not last or tonumber(last) < tonumber(argv[at + 6])
    end
    if not redis.acl_check_cmd('HSET', keys[key], 'v', '') then
      return redis.error_reply('NOPERM no right to run hset on ' .. keys[key])
    end
    at = after(argv, at)
  end
  if before then
    -- Written once more, so that replicas can be waited for.
    if known[1].tokens then
      redis.call('HSET', keys[1], 'w' .. argv[4], known[1].tokens)
    else
      redis.call('EXPIRE', keys[3], argv[FIRST + 7])
    end
    return {1}
  end
  if not stands then
    return {0, current_reign(), standing(keys, 1)}
  end
  at = FIRST
  for key = 1, #keys, 3 do
    apply(keys, key, argv, at, known[key])
    redis.pcall(argv[2], keys[key], argv[at + 4]) -- what is written stays, whoever may not publish
    if argv[at + 8] ~= '' then
      redis.pcall('PUBLISH', argv[3], argv[at] .. ' ' .. keys[key])
    end
    at = after(argv, at)
  end
  return {1}
end

-- KEYS   those of one stream
-- Returns {reign, fields of meta, retired or nil}
local function load(keys)
  local now = looked_at(keys[1], redis.call('HGET', keys[1], 'r'))
  return {now, redis.call('HGETALL', keys[1]), redis.call('GET', keys[3])}
end

-- KEYS   the meta key of one stream
-- Returns {reign, v or nil}: whether a remembered state is the present one
local function confirm(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 'v')
  return {current_reign(meta[1]), meta[2]}
end

-- KEYS   the meta key of one stream
-- Returns {reign, s or nil}: the stream, without its producers; s is empty when it was removed
local function state(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 's')
  return {current_reign(meta[1]), meta[2]}
end

-- KEYS   meta and records of one stream
-- Takes away the records that are kept no longer.
local function trim(keys)
  local first = redis.call('HGET', keys[1], 'f')
  return first and redis.call('XTRIM', keys[2], 'MINID', '~', first)
end

-- KEYS   meta and records of a stream that was removed
local function purge(keys)
  local v = redis.call('HGET', keys[1], 'v')
  return (not v or v == '') and redis.call('UNLINK', keys[1], keys[2])
end

-- ARGV   the prefix of keys and channels
-- Returns the reign. Like a commit it is refused by a server that takes no writes, and of a user
--        who may not do what a gateway does.
local function probe(_, argv)
  local key, index, gone = argv[1] .. ':{}', argv[1] .. ':deadlines', argv[1] .. ':gone'
  local needed = {
    {'xadd', key, '*', 'd', ''}, {'xtrim', key, 'MAXLEN', '0'}, {'type', key},
    {'hset', key, 'v', ''}, {'hdel', key, 'v'}, {'hmget', key, 'v'}, {'hgetall', key}, {'hget', key, 'r'},
    {'hlen', key}, {'unlink', key}, {'rename', key, key}, {'get', key}, {'set', key, ''},
    {'expire', key, '1'}, {'xrange', key, '-', '+'}, {'xrevrange', key, '+', '-'},
    {'zadd', index, '0', ''}, {'zrem', index, ''}, {'zrangebyscore', index, '0', '0'},
    {'spublish', key, ''}, {'ssubscribe', key}, {'publish', gone, ''}, {'subscribe', gone},
  }
  for _, words in ipairs(needed) do
    if not redis.acl_check_cmd(unpack(words)) then
      return redis.error_reply('NOPERM no right to run ' .. words[1] .. ' on ' .. argv[1] .. ':*')
    end
  end
  return current_reign()
end

-- What frees memory, or takes none, goes on when there is none left.
local CALM = {'allow-oom'}

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
