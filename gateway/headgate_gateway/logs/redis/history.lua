#!lua name=headgate_history

-- The history of this Redis process: a number that no other history of its data has. It lives in the
-- interpreter of this one process, which begins anew when the process does, and when a full resync
-- replaces what the process has. headgate.lua has a name for each text, so that versions can serve
-- side by side. This library is apart from it: it never changes, and whichever version comes to a
-- process gets the history that others have begun there, for all prefixes.
local history

-- ARGV    1 later   a history of this process that has followed the one begun here, or nothing
-- Returns {history, the replication ID, which changes when a replica is promoted}
local function current(_, argv)
  if history == nil then
    local time = redis.call('TIME')
    history = string.format('%.0f', time[1] * 1000000 + time[2])
  end
  if argv[1] and tonumber(argv[1]) > tonumber(history) then
    history = argv[1]
  end
  return {history, string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')}
end

redis.register_function{
  function_name = 'headgate_history', callback = current, flags = {'allow-oom'}}
