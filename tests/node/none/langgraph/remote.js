export class RemoteGraph {}
